//! The pages that previewd shows in a preview's place: while the first build runs, when it failed, when there is none.
//!
//! Invariant: everything that came from outside is escaped; nothing is fetched from elsewhere.

use crate::domain::Failure;

/// How often a waiting page asks again, seconds.
const REFRESH_S: u32 = 1;

const STYLE: &str = "html{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}body{margin:0;min-height:100vh;display:grid;place-items:center;\
background:Canvas;color:CanvasText}main{max-width:44rem;padding:2rem;box-sizing:border-box;width:100%}h1{font-size:1.25rem;font-weight:600;margin:0 0 .5rem}p{margin:.25rem 0;\
opacity:.75}pre{overflow:auto;padding:1rem;border-radius:.5rem;background:color-mix(in srgb,CanvasText 8%,Canvas);font:13px/1.5 ui-monospace,monospace}\
.bar{height:3px;border-radius:2px;overflow:hidden;background:color-mix(in srgb,CanvasText 12%,Canvas);margin:1rem 0}.bar i{display:block;height:100%;width:30%;\
border-radius:2px;background:#4f7cff;animation:go 1.2s ease-in-out infinite alternate}@keyframes go{from{margin-left:0}to{margin-left:70%}}\
@media (prefers-reduced-motion:reduce){.bar i{animation:none;width:100%}}";

/// Something is on its way: refreshes itself.
pub fn waiting() -> String {
    let body =
        "<h1>Building the preview…</h1><div class=bar role=progressbar aria-label=building><i></i></div><p>It opens here as soon as it is ready.</p>";
    page("Building…", body, Some(REFRESH_S))
}

/// Nothing was ever pushed: refreshes itself, for it may be soon.
pub fn empty() -> String {
    page(
        "No preview yet",
        "<h1>No preview yet</h1><p>Nothing was built for this address so far. It opens here as soon as something is.</p>",
        Some(REFRESH_S * 3),
    )
}

/// The first build failed: says why, and refreshes itself, for the next one may do better.
pub fn failed(failure: Option<&Failure>) -> String {
    let mut body = "<h1>The build failed</h1>".to_owned();
    if let Some(failure) = failure {
        let frame = failure.frame.as_ref().map(|frame| format!("<pre>{}</pre>", escape(frame))).unwrap_or_default();
        body = format!("{body}<p>{}</p><pre>{}</pre>{frame}", escape(&place(failure)), escape(&failure.message));
    }
    body += "<p>The preview opens here as soon as a build succeeds.</p>";
    page("Build failed", &body, Some(REFRESH_S * 2))
}

/// There is no such file in the release. `client` is the preview client's tag, or nothing.
pub fn not_found(client: &str) -> String {
    let body = format!("<h1>404: not found</h1><p>The preview has no such page or file.</p>{client}");
    page("Not found", &body, None)
}

fn place(failure: &Failure) -> String {
    match (&failure.file, failure.line) {
        (Some(file), Some(line)) => format!("{} in {file}, line {line}", failure.kind),
        (Some(file), None) => format!("{} in {file}", failure.kind),
        _ => failure.kind.to_string(),
    }
}

fn page(title: &str, body: &str, refresh_s: Option<u32>) -> String {
    let refresh = refresh_s.map(|s| format!("<meta http-equiv=refresh content={s}>")).unwrap_or_default();
    format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><meta name=robots content=noindex>\
         {refresh}<title>{title}</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FailureKind;

    #[test]
    fn messages_are_escaped() {
        let failure = Failure { file: Some("<b>.tsx".into()), line: Some(3), ..Failure::new(FailureKind::Compile, "<script>alert(1)</script>") };
        let page = failed(Some(&failure));
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;") && page.contains("&lt;b&gt;.tsx, line 3"));
    }
}
