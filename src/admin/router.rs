//! Which path leads where, and which role it needs.
//!
//! Routes are listed by the role they need, so that none can be without one. Before any of them the gate looks at
//! peer, host and origin, and authentication at the token; what fits no route is answered as a problem as well.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, Uri, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{delete, get, post, put};

use super::auth::{self, Caller};
use super::gate::{self, Link};
use super::problem::ApiError;
use super::{
    Desk, approval, change, config, drain, drill, events, explain, hold, hooks, jobs, metrics, openapi, report,
    rollout, services, status, upgrade, validation,
};
use crate::config::spec::{Admin, Role};

/// Paths that anyone may ask for who passes the gate: they tell nothing about the services.
const FREE: [&str; 3] = ["/", "/healthz", "/readyz"];

const DRAIN: &str = "/api/v1/services/{service}/groups/{group}/drain";
const ROLLOUTS: &str = "/api/v1/services/{service}/rollouts";

/// All routes of this floor.
pub(super) fn routes() -> Router<Desk> {
    Router::new()
        .route("/", get(status::hint))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/rollouts/{id}/approve", get(approval::show).post(approval::agree))
        .merge(needs(Role::Viewer, reads()))
        .merge(needs(Role::Monitor, rollbacks()))
        .merge(needs(Role::Operator, traffic()))
        .merge(needs(Role::Admin, administration()))
}

fn reads() -> Router<Desk> {
    Router::new()
        .route("/metrics", get(metrics::scrape))
        .route("/api/v1/openapi.json", get(openapi::document))
        .route("/api/v1/services", get(services::list))
        .route("/api/v1/services/{service}", get(services::one))
        .route("/api/v1/services/{service}/explain", get(explain::explain))
        .route(DRAIN, get(drain::show))
        .route(ROLLOUTS, get(rollout::list))
        .route("/api/v1/services/{service}/rollouts/{id}", get(rollout::one))
        .route("/api/v1/rollouts/{id}/report", get(report::report))
        .route("/api/v1/jobs", get(jobs::list))
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/config", get(config::show))
        .route("/api/v1/config/drift", get(config::drift))
}

fn rollbacks() -> Router<Desk> {
    Router::new()
        .route("/api/v1/rollback", post(change::rollback_several))
        .route("/api/v1/services/{service}/rollback", post(change::rollback))
        .route("/hooks/alertmanager", post(hooks::alertmanager))
}

fn traffic() -> Router<Desk> {
    Router::new()
        .route("/api/v1/switch", post(change::switch_several))
        .route("/api/v1/services/{service}/switch", post(change::switch))
        .route("/api/v1/services/{service}/hold", post(hold::hold).delete(hold::release))
        .route("/api/v1/services/{service}/shift", post(change::shift))
        .route("/api/v1/services/{service}/split", put(change::split))
        .route("/api/v1/rollouts", post(rollout::start_several))
        .route("/api/v1/rollouts/{id}/validation", post(validation::validated))
        .route("/api/v1/jobs/{id}", delete(jobs::cancel))
        .route("/api/v1/jobs/{id}/retry", post(jobs::retry))
        .route(ROLLOUTS, post(rollout::start))
        .route("/api/v1/services/{service}/rollouts/drill", post(drill::drill))
        .route("/api/v1/services/{service}/rollouts/current/{wish}", post(rollout::steer))
        .route(DRAIN, post(drain::begin).delete(drain::cancel))
}

fn administration() -> Router<Desk> {
    Router::new().route("/api/v1/config/reload", post(config::reload)).route("/api/v1/upgrade", post(upgrade::upgrade))
}

/// Refuses callers with less than `role` on these routes.
fn needs<S: Clone + Send + Sync + 'static>(role: Role, routes: Router<S>) -> Router<S> {
    routes.route_layer(middleware::from_fn(move |request: Request, next: Next| async move {
        let caller = request.extensions().get::<Caller>().ok_or(ApiError::Unauthorized("this needs a token"))?;
        caller.may(role)?;
        Ok::<_, ApiError>(next.run(request).await)
    }))
}

/// Puts the gate and authentication in front of `routes`, and a problem behind them.
pub(super) fn complete<S: Clone + Send + Sync + 'static>(routes: Router<S>, admin: Arc<Admin>) -> Router<S> {
    routes
        .fallback(async |uri: Uri| ApiError::NoSuchPath(uri.path().chars().take(200).collect()))
        .method_not_allowed_fallback(async |method: Method| ApiError::MethodNotAllowed(method.to_string()))
        .layer(middleware::from_fn_with_state(admin, admit))
}

async fn admit(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let mut response = match admitted(&admin, request) {
        Ok(request) => next.run(request).await,
        Err(error) => axum::response::IntoResponse::into_response(error),
    };
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Links have a signature in place of a token, which is looked at where they lead.
fn is_link(path: &str) -> bool {
    path.strip_prefix("/rollouts/").and_then(|rest| rest.strip_suffix("/approve")).is_some_and(|id| !id.contains('/'))
}

/// The request with its caller, when it may pass.
fn admitted(admin: &Admin, request: Request) -> Result<Request, ApiError> {
    let (mut parts, body) = request.into_parts();
    // Whatever was put together without a link is treated as the outermost stranger.
    let link = parts.extensions.get::<Link>().copied().ok_or(ApiError::BadHost(String::new()))?;
    let caller = gate::check(admin, link, &parts).and_then(|()| {
        if FREE.contains(&parts.uri.path()) || is_link(parts.uri.path()) {
            Ok(None)
        } else {
            auth::identify(&admin.tokens, &parts.headers).map(Some)
        }
    });
    match caller {
        Ok(caller) => {
            caller.map(|caller| parts.extensions.insert(caller));
            Ok(Request::from_parts(parts, body))
        }
        Err(error) => {
            tracing::warn!(?link, method = %parts.method, path = parts.uri.path(), %error, "the admin port refused a request");
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::spec::{Bind, Token};
    use axum::body::Body;
    use axum::http::{HeaderName, StatusCode};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    fn admin(tokens: &[(&str, Role)]) -> Admin {
        let token = |(name, role): &(&str, Role)| Token {
            name: (*name).to_owned(),
            role: *role,
            sha256: auth::sha256(name.as_bytes()),
        };
        Admin {
            listen: Bind::Tcp("127.0.0.1:7070".parse().unwrap()),
            allow: Vec::new(),
            hosts: Vec::new(),
            tls: None,
            tokens: tokens.iter().map(token).collect(),
        }
    }

    /// The real gate, authentication and fallbacks around routes that need no controller.
    fn app(tokens: &[(&str, Role)]) -> Router {
        let fine = || get(async || "fine").post(async || "done");
        let routes = Router::new()
            .route("/healthz", get(async || "ok"))
            .merge(needs(Role::Viewer, Router::new().route("/read", fine())))
            .merge(needs(Role::Monitor, Router::new().route("/rollback", fine())))
            .merge(needs(Role::Operator, Router::new().route("/traffic", fine())))
            .merge(needs(Role::Admin, Router::new().route("/reload", fine())));
        complete(routes, Arc::new(admin(tokens)))
    }

    async fn ask(app: Router, method: Method, path: &str, headers: &[(&str, &str)]) -> (StatusCode, Response) {
        let mut request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        for (name, value) in [("host", "localhost:7070")].iter().chain(headers) {
            request.headers_mut().insert(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let address = "127.0.0.1:7070".parse().unwrap();
        request.extensions_mut().insert(Link::Tcp { peer: address, local: address });
        let response = app.oneshot(request).await.unwrap();
        (response.status(), response)
    }

    async fn code(response: Response) -> String {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let problem: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        problem["code"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn each_role_gets_as_far_as_it_may() {
        let all = [("v", Role::Viewer), ("m", Role::Monitor), ("o", Role::Operator), ("a", Role::Admin)];
        for (i, (token, _)) in all.iter().enumerate() {
            for (j, path) in ["/read", "/rollback", "/traffic", "/reload"].iter().enumerate() {
                let bearer = format!("Bearer {token}");
                let (status, _) = ask(app(&all), Method::POST, path, &[("authorization", &bearer)]).await;
                let expected = if i >= j { StatusCode::OK } else { StatusCode::FORBIDDEN };
                assert_eq!(status, expected, "{token} at {path}");
            }
        }
    }

    #[tokio::test]
    async fn without_a_token_only_the_free_paths_answer_and_unknown_paths_do_not_tell_that_they_are_unknown() {
        let tokens = [("v", Role::Viewer)];
        assert_eq!(ask(app(&tokens), Method::GET, "/healthz", &[]).await.0, StatusCode::OK);
        for path in ["/read", "/nothing", "/healthz/"] {
            let (status, response) = ask(app(&tokens), Method::GET, path, &[]).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
            assert!(response.headers().contains_key(header::WWW_AUTHENTICATE));
            assert_eq!(code(response).await, "unauthorized");
        }
    }

    #[tokio::test]
    async fn an_unknown_path_is_a_problem_and_a_wrong_method_names_the_right_ones() {
        let (status, response) = ask(app(&[]), Method::GET, "/nothing", &[]).await;
        assert_eq!((status, code(response).await.as_str()), (StatusCode::NOT_FOUND, "no_such_path"));
        let (status, response) = ask(app(&[]), Method::DELETE, "/read", &[]).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[header::ALLOW], "GET,HEAD,POST");
        assert_eq!(code(response).await, "method_not_allowed");
    }

    #[tokio::test]
    async fn a_foreign_host_or_page_is_refused_on_free_paths_and_for_reads_too() {
        for path in ["/healthz", "/read", "/nothing"] {
            let (status, response) = ask(app(&[]), Method::GET, path, &[("origin", "https://evil.example")]).await;
            assert_eq!((status, code(response).await.as_str()), (StatusCode::FORBIDDEN, "bad_origin"), "{path}");
            let (status, response) = ask(app(&[]), Method::GET, path, &[("host", "evil.example")]).await;
            assert_eq!((status, code(response).await.as_str()), (StatusCode::FORBIDDEN, "bad_host"), "{path}");
        }
    }

    #[tokio::test]
    async fn a_request_without_a_link_never_passes() {
        let request = Request::get("/read").header("host", "localhost").body(Body::empty()).unwrap();
        assert_eq!(app(&[]).oneshot(request).await.unwrap().status(), StatusCode::FORBIDDEN);
    }

    #[test]
    fn the_routes_do_not_contradict_each_other() {
        let _: Router<Desk> = complete(routes(), Arc::new(admin(&[])));
    }
}
