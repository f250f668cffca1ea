//! What can be set for one project: its builds' environment, and where its webhooks go.
//!
//! Invariant: a value of a variable goes in and never comes out: not in an answer, not in an error, not in a log.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::control::on_runtime;
use super::error::ApiError;
use super::extract::{authorize, bounded_body, parse_json};
use super::problems::{OfSetEnv, OfSetNotify, OfSettings};
use crate::app::App;
use crate::auth::Scope;
use crate::config::Build;
use crate::domain::{ProjectId, Revision, SourcePath};
use crate::state::Environment;

/// Variables of one project at most.
const VARS_MAX: usize = 100;
/// All values of a project together, bytes.
const VALUES_BYTES_MAX: usize = 64 * 1024;
/// Longest name of a variable, characters.
const NAME_CHARS_MAX: usize = 128;

/// What a project's builds are given besides its sources. It takes the place of all that was set before.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct EnvBody {
    /// Variables by name: `VITE_…`, and the names in `build.env_names`. Each wins over the project's `.env` files. None: no variables.
    // Looked at by hand: an error of serde's would repeat a value.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = BTreeMap<VariableName, VariableValue>, required = false, example = json!({"VITE_API_URL": "https://api.example"}))]
    vars: Option<Value>,
    /// The app's folder in a project with several, relative to `frontend/`; `.` is the top. Without it the app is looked for.
    #[serde(default)]
    #[schema(value_type = Option<AppFolder>)]
    root: Option<String>,
}

/// The name of a variable. Those in `build.env_names` are taken, too.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = "^VITE_[A-Za-z0-9_]{0,123}$")]
#[expect(dead_code, reason = "for the API's description")]
pub(super) struct VariableName(String);

/// The value of a variable; all of a project's have 64 kB together at most.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = r"^[^\x00]*$")]
#[expect(dead_code, reason = "as above")]
pub(super) struct VariableValue(String);

/// An address that webhooks go to: of a host in `notify.hosts`, without a name, a password or a fragment.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = "^https?://[a-z0-9.-]+/[A-Za-z0-9/._~-]*$", max_length = 2000, examples("https://chat.example/hook"))]
#[expect(dead_code, reason = "as above")]
pub(super) struct WebhookUrl(String);

/// A folder of the project, in the form of a path of a source file; or `.`.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = r"^(?:\.|(?!.{1025})(?!.*[^/]{241})(?!(?:.*/)?(?:\.\.?|\.git|node_modules)(?:/|$))[^/\\\x00-\x1f\x7f-\x9f]+(?:/[^/\\\x00-\x1f\x7f-\x9f]+){0,31})$", examples("apps/web"))]
#[expect(dead_code, reason = "as above")]
pub(super) struct AppFolder(String);

/// What is set: names without their values.
#[derive(Serialize, ToSchema)]
pub(super) struct EnvView {
    names: Vec<String>,
    /// `null`: the app is looked for.
    #[schema(required)]
    root: Option<String>,
}

/// What was set, and what came of it.
#[derive(Serialize, ToSchema)]
pub(super) struct EnvAnswer {
    /// `building`, or `no_changes` where it was set already or there is nothing to build yet.
    #[schema(pattern = "^(building|no_changes)$")]
    status: &'static str,
    /// The newest revision.
    revision: Revision,
    #[serde(flatten)]
    env: EnvView,
}

/// Where a project's webhooks go.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct NotifyBody {
    /// At most 5 addresses, each with a host of `notify.hosts`. They take the place of all that were set before.
    #[schema(required = true, value_type = Vec<WebhookUrl>, max_items = 5)]
    urls: Option<Vec<String>>,
}

/// Where a project's webhooks go, besides `notify.urls`.
#[derive(Serialize, ToSchema)]
pub(super) struct NotifyView {
    urls: Vec<String>,
}

/// Which variables a project's builds are given, without their values, and where its app is.
#[utoipa::path(
    get, path = "/env/{id}", tag = "control", params(("id" = ProjectId, Path, description = "The project")),
    responses((status = 200, description = "What is set", body = EnvView), OfSettings),
    security(("token" = []), ("project_token" = []), ("project_token_in_address" = []))
)]
pub(super) async fn env(app: Data<App>, id: Path<String>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let project = known(&app, &id, &request).await?;
    let env = app.store.environment(project).await?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(view(&env)))
}

/// Sets what a project's builds are given; where that changes anything, it is built. A project that is new is registered.
#[utoipa::path(
    put, path = "/env/{id}", operation_id = "set_env", tag = "control", params(("id" = ProjectId, Path, description = "The project")), request_body = EnvBody,
    responses(
        (status = 200, description = "It was set already, or there is nothing to build yet", body = EnvAnswer),
        (status = 202, description = "Set, and its build follows", body = EnvAnswer),
        OfSetEnv
    ),
    security(("token" = []), ("project_token" = []), ("project_token_in_address" = []))
)]
pub(super) async fn set_env(app: Data<App>, id: Path<String>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
    let project: ProjectId = id.parse()?;
    authorize(&app, &request, Scope::Control, Some(&project))?;
    let body = bounded_body(&app, payload).await?;
    let new = environment(&app.config.build, parse_json(&request, &body)?)?;
    change(&app, project, new).await
}

/// Takes back what a project's builds are given; where that changes anything, it is built.
#[utoipa::path(
    delete, path = "/env/{id}", operation_id = "clear_env", tag = "control", params(("id" = ProjectId, Path, description = "The project")),
    responses(
        (status = 200, description = "Nothing was set, or there is nothing to build yet", body = EnvAnswer),
        (status = 202, description = "Taken back, and its build follows", body = EnvAnswer),
        OfSetEnv
    ),
    security(("token" = []), ("project_token" = []), ("project_token_in_address" = []))
)]
pub(super) async fn clear_env(app: Data<App>, id: Path<String>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let project = known(&app, &id, &request).await?;
    change(&app, project, Environment::default()).await
}

/// Where a project's webhooks go, besides `notify.urls`.
#[utoipa::path(
    get, path = "/notify/{id}", tag = "control", params(("id" = ProjectId, Path, description = "The project")),
    responses((status = 200, description = "The addresses", body = NotifyView), OfSettings),
    security(("token" = []), ("project_token" = []), ("project_token_in_address" = []))
)]
pub(super) async fn notify(app: Data<App>, id: Path<String>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let project = known(&app, &id, &request).await?;
    let urls = app.store.notify_targets(project).await?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(NotifyView { urls }))
}

/// Sets where a project's webhooks go, besides `notify.urls`. A project that is new is registered.
#[utoipa::path(
    put, path = "/notify/{id}", operation_id = "set_notify", tag = "control", params(("id" = ProjectId, Path, description = "The project")), request_body = NotifyBody,
    responses((status = 200, description = "The addresses, as they are kept", body = NotifyView), OfSetNotify),
    security(("token" = []), ("project_token" = []), ("project_token_in_address" = []))
)]
pub(super) async fn set_notify(app: Data<App>, id: Path<String>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
    let project: ProjectId = id.parse()?;
    authorize(&app, &request, Scope::Control, Some(&project))?;
    let body = bounded_body(&app, payload).await?;
    let body: NotifyBody = parse_json(&request, &body)?;
    let urls = body.urls.ok_or_else(|| ApiError::InvalidBody("at urls: it is missing".into()))?;
    let urls = app.notifier.rules().accept(&urls).map_err(|(at, error)| ApiError::InvalidBody(format!("at urls[{at}]: {error}")))?;
    app.store.set_notify_targets(project, urls.clone(), app.config.notify.urls.clone().into(), now()).await?;
    Ok(HttpResponse::Ok().json(NotifyView { urls }))
}

/// Takes back where a project's webhooks go. What still waits is not sent.
#[utoipa::path(
    delete, path = "/notify/{id}", operation_id = "clear_notify", tag = "control", params(("id" = ProjectId, Path, description = "The project")),
    responses((status = 204, description = "Nothing of this project goes anywhere but to `notify.urls`"), OfSettings),
    security(("token" = []), ("project_token" = []), ("project_token_in_address" = []))
)]
pub(super) async fn clear_notify(app: Data<App>, id: Path<String>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let project = known(&app, &id, &request).await?;
    app.store.set_notify_targets(project, Vec::new(), app.config.notify.urls.clone().into(), now()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// A project that is there, and that the caller may control.
async fn known(app: &App, id: &str, request: &HttpRequest) -> Result<ProjectId, ApiError> {
    let project: ProjectId = id.parse()?;
    authorize(app, request, Scope::Control, Some(&project))?;
    if app.store.project(project.clone()).await?.is_none() {
        return Err(ApiError::UnknownProject);
    }
    Ok(project)
}

async fn change(app: &Data<App>, project: ProjectId, new: Environment) -> Result<HttpResponse, ApiError> {
    let env = view(&new);
    let (revision, building) = on_runtime(app, |app| async move { app.intake.set_environment(&project, new).await }).await??;
    let status = if building { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok(HttpResponse::build(status).json(EnvAnswer { status: if building { "building" } else { "no_changes" }, revision, env }))
}

fn view(env: &Environment) -> EnvView {
    EnvView { names: env.vars.keys().cloned().collect(), root: env.root.clone() }
}

/// What a body asks for, checked.
fn environment(config: &Build, body: EnvBody) -> Result<Environment, ApiError> {
    let vars = match body.vars {
        None => BTreeMap::new(),
        Some(Value::Object(vars)) => vars.into_iter().map(|(name, value)| variable(config, name, value)).collect::<Result<_, _>>()?,
        Some(_) => return Err(ApiError::InvalidBody("at vars: it is an object of names with texts".into())),
    };
    if vars.len() > VARS_MAX || vars.values().map(String::len).sum::<usize>() > VALUES_BYTES_MAX {
        return Err(ApiError::InvalidBody(format!("at vars: at most {VARS_MAX}, whose values have {VALUES_BYTES_MAX} bytes together")));
    }
    let root = match body.root.as_deref() {
        None => None,
        Some(".") => Some(String::new()),
        Some(path) => {
            let parsed = SourcePath::parse(path).map_err(|reason| ApiError::InvalidBody(format!("at root: {reason}")))?;
            Some(parsed.as_str().to_owned())
        }
    };
    Ok(Environment { vars, root })
}

fn variable(config: &Build, name: String, value: Value) -> Result<(String, String), ApiError> {
    let shown: String = name.chars().take(NAME_CHARS_MAX).collect();
    if name.len() > NAME_CHARS_MAX || !config.may_set(&name) {
        let message = format!("at vars: {shown:?} may not be set: names begin with VITE_, or are in build.env_names");
        return Err(ApiError::InvalidBody(message));
    }
    match value {
        Value::String(value) if !value.contains('\0') => Ok((name, value)),
        _ => Err(ApiError::InvalidBody(format!("at vars.{shown}: a value is a text"))),
    }
}

/// A value that is there, also where it is `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<Environment, String> {
        let config = crate::config::Config::load(None, [("PREVIEWD__BUILD__ENV_NAMES".to_owned(), "API_URL".to_owned())]).expect("valid");
        let body: EnvBody = serde_json::from_value(body).expect("a body");
        environment(&config.build, body).map_err(|e| e.to_string())
    }

    #[test]
    fn what_may_be_set() {
        let env = read(json!({"vars": {"VITE_A": "1", "API_URL": ""}, "root": "apps/web"})).expect("valid");
        assert_eq!((env.vars.len(), env.root.as_deref()), (2, Some("apps/web")));
        assert_eq!(read(json!({"root": "."})).expect("valid").root.as_deref(), Some(""));
        assert_eq!(read(json!({})), Ok(Environment::default()));
        for (body, told) in [
            (json!({"vars": {"PATH": "hidden"}}), "\"PATH\" may not be set"),
            (json!({"vars": {"VITE_A=B": "hidden"}}), "may not be set"),
            (json!({"vars": {"VITE_A": 4711}}), "at vars.VITE_A"),
            (json!({"vars": {"VITE_A": "hidden\0"}}), "at vars.VITE_A"),
            (json!({"vars": "hidden"}), "at vars"),
            (json!({"vars": null}), "at vars"),
            (json!({"vars": {"VITE_A": "h".repeat(VALUES_BYTES_MAX + 1)}}), "at most 100"),
            (json!({"root": "../other"}), "at root"),
            (json!({"root": "/etc"}), "at root"),
            (json!({"root": "apps/"}), "at root"),
            (json!({"root": ""}), "at root"),
        ] {
            let error = read(body.clone()).expect_err("refused");
            assert!(error.contains(told) && !error.contains("hidden") && !error.contains("4711") && !error.contains("hhhh"), "{error}");
        }
    }
}
