//! The configuration as operators write it: right, wrong, and with secrets in it.

use super::*;

fn load(toml: &str, env: &[(&str, &str)]) -> Result<Config, String> {
    let dir = tempfile::tempdir().expect("temp dir");
    let file = dir.path().join("previewd.toml");
    std::fs::write(&file, toml).expect("write");
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(Some(&file), env).map_err(|e| e.to_string())
}

#[test]
fn the_embedded_defaults_are_valid_and_as_the_contract_says() {
    let config = Config::load(None, []).expect("defaults");
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.build.timeout_s, 120);
    assert_eq!(config.build.sandbox, SandboxMode::Required);
    assert_eq!(config.queue.max_pending, 1000);
    assert_eq!(config.source_url().expect("url"), SourceUrl::Directory("./data/source".into()));
}

#[test]
fn the_environment_wins_over_the_file() {
    let env = [("PREVIEWD__BUILD__TIMEOUT_S", "7"), ("PREVIEWD__AUTH__TOKENS", "0123456789abcdef, fedcba9876543210"), ("OTHER", "x")];
    let config = load("[build]\ntimeout_s = 5\nlog_kb = 9\n", &env).expect("valid");
    assert_eq!((config.build.timeout_s, config.build.log_kb), (7, 9));
    assert_eq!(config.auth.tokens.len(), 2);
}

#[test]
fn what_is_wrong_is_named() {
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let cases: &[Case<'_>] = &[
        ("[build]\ntimeout = 5", &[], "unknown key `build.timeout`"),
        ("[bild]\n", &[], "unknown key `bild`"),
        ("[build]\ntimeout_s = \"soon\"", &[], "`build.timeout_s`"),
        ("[build]\ntimeout_s = -1", &[], "`build.timeout_s`"),
        ("[build]\ntimeout_s = 0", &[], "`build.timeout_s`: must be at least 1"),
        ("[build]\nsandbox = \"maybe\"", &[], "`build.sandbox`"),
        ("build = 3", &[], "`build`"),
        ("[build", &[], "not valid TOML"),
        ("", &[("PREVIEWD__BUILD__NOPE", "1")], "unknown key `build.nope` in PREVIEWD__BUILD__NOPE"),
        ("", &[("PREVIEWD__BUILD__TIMEOUT_S", "x")], "must be a whole number"),
        ("[server]\nlisten = \"0.0.0.0:80\"", &[], "needs `auth.tokens`"),
        ("[auth]\ntokens = [\"short\"]", &[], "`auth.tokens`"),
        ("[source]\nurl = \"s3://x\"", &[], "`source.url`"),
        ("[server]\nembed_origins = [\"app.example\"]", &[], "`server.embed_origins`"),
        ("[log]\nlevel = \"foo=bar=baz\"", &[], "`log.level`"),
        ("[notify]\nurls = [\"https://chat.example/hook\"]", &[], "`notify.urls`: webhooks are signed"),
        ("[notify]\nhosts = [\"chat.example\"]", &[], "`notify.hosts`: webhooks are signed"),
        ("[notify]\nurls = [\"chat.example\"]\n[auth]\nwebhook_secrets = [\"0123456789abcdef\"]", &[], "`notify.urls`: number 1"),
        ("[notify]\nhosts = [\"https://x\"]\n[auth]\nwebhook_secrets = [\"0123456789abcdef\"]", &[], "`notify.hosts`"),
        ("[build]\nenv_names = [\"API_URL\", \"NODE_OPTIONS\"]", &[], "`build.env_names`"),
        ("[build]\nenv_names = [\"A B\"]", &[], "`build.env_names`"),
        ("[preview]\nscripts = [\"//evil.example/x.js\"]", &[], "`preview.scripts`"),
        ("[preview]\nscripts = [\"https://x/\\\"onload=\"]", &[], "`preview.scripts`"),
        ("[server]\nlisten = \"127.0.0.1:1\"\npublic_url = !", &[], "line 3, column 14: "),
    ];
    for (toml, env, expected) in cases {
        let message = load(toml, env).expect_err(toml);
        assert!(message.contains(expected), "{toml:?} {env:?}: {message}");
    }
}

#[test]
fn no_error_repeats_a_secret() {
    let secret = "my-super-secret";
    let texts = [
        format!("[auth]\ntokens = \"{secret}\""),
        format!("[auth]\ntokens = [[\"{secret}\"]]"),
        format!("[auth]\nwebhook_secrets = {{ a = \"{secret}\" }}"),
        format!("[auth]\ntokens = [\"{secret}\""),
        format!("[auth]\ntokens = [{secret}]"),
        format!("[auth]\ntokens = {secret}"),
        format!("[auth]\ntokens = [\"{secret}]"),
        format!("[auth]\ntokens = [\"{secret}\\q\"]"),
        format!("[auth]\ntokens [\"{secret}\"]"),
        format!("[auth]\ntokens = [\"{secret}\"] x"),
        format!("[auth]\ntokens = [\"{secret}\"]\ntokens = []"),
        format!("[auth]\ntokens = [\"{secret}\"]\n[auth]"),
        format!("[auth]\ntoken = \"{secret}\""),
        format!("auth = \"{secret}\""),
        format!("[[auth]]\ntokens = [\"{secret}\"]"),
    ];
    for text in &texts {
        let told = load(text, &[]).expect_err(text);
        assert!(!told.contains("secret\"") && !told.contains("super"), "{text}: {told}");
        assert!(told.contains("auth") || told.contains("line "), "{text}: {told}");
    }
    for name in ["PREVIEWD__AUTH__TOKENS", "PREVIEWD__AUTH__WEBHOOK_SECRETS", "PREVIEWD__AUTH__TOKEN", "PREVIEWD__AUTH"] {
        let told = load("", &[(name, secret)]).expect_err(name);
        assert!(told.contains("auth") && !told.contains("super"), "{name}: {told}");
    }
}

#[test]
fn addresses_are_clean() {
    let takes = |key: &str, value: &str| load(&format!("[server]\n{key} = {value}"), &[]).is_ok();
    let origins = ["https://app.example", "http://localhost:5173", "http://127.0.0.1:3000", "http://[::1]:5173"];
    for origin in origins {
        assert!(takes("embed_origins", &format!("[{origin:?}]")), "{origin}");
    }
    let odd = [
        "https://",
        "https://a b",
        "https://a\"",
        "https://a'",
        "https://a;b",
        "https://a,b",
        "https://a/",
        "https://a?x",
        "https://a#x",
        "https://a@b",
        "https://a\tb",
        "https://a\u{7f}",
        "https://ä.example",
        "https://*.example",
        "https://a..b",
        "https://a.",
        "https://-a",
        "https://a:",
        "https://a:x",
        "https://a:+1",
        "https://a:0",
        "https://a:65536",
        "https://[::1",
        "https://::1",
        "ftp://a",
        "null",
        "*",
        "",
    ];
    for origin in odd {
        assert!(!takes("embed_origins", &toml::Value::from(vec![origin]).to_string()), "{origin:?}");
    }
    for domain in ["", "localhost:{port}", "apps.example", "apps.example:8443"] {
        assert!(takes("preview_domain", &format!("{domain:?}")), "{domain}");
    }
    for domain in
        ["localhost:{prot}", "{port}}", "{x}.example", "a.{port", "Apps.example", "apps.example/", "*.example", ".example", "example.", "a b", ":80"]
    {
        assert!(!takes("preview_domain", &format!("{domain:?}")), "{domain}");
    }
    for url in ["http://127.0.0.1:{port}", "https://build.example/", "https://build.example/previewd"] {
        assert!(takes("public_url", &format!("{url:?}")), "{url}");
    }
    for url in ["http://127.0.0.1:{prot}", "https://{host}", "http://", "https://a b", "https://a?x=1", "https://a#x", "ws://a", "build.example"] {
        assert!(!takes("public_url", &format!("{url:?}")), "{url}");
    }
}

#[test]
fn azure_urls() {
    let url = |text: &str| load(&format!("[source]\nurl = \"{text}\""), &[]).and_then(|c| c.source_url().map_err(|e| e.to_string()));
    let azure = |container: &str, prefix: &str| SourceUrl::Azure { container: container.into(), prefix: prefix.into() };
    assert_eq!(url("azure://apps/team/one/"), Ok(azure("apps", "team/one")));
    assert_eq!(url("azure://apps"), Ok(azure("apps", "")));
    assert!(url("azure://").is_err());
    assert!(url("azure://Bad_Name/x").is_err());
}
