//! The OpenAPI document: what each resource says of itself, put together.

use axum::Json;
use axum::http::{HeaderName, header};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{
    approval, change, config, drain, drill, events, explain, hold, hooks, jobs, metrics, report, rollout, services,
    status, upgrade, validation,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "pointsman",
        description = "Sees and moves traffic between the versions of a service. A change is durable before it is acknowledged, and every request that starts after the answer is routed by it."
    ),
    paths(
        services::list,
        services::one,
        change::split,
        change::shift,
        change::switch,
        change::switch_several,
        change::rollback,
        change::rollback_several,
        drain::begin,
        drain::cancel,
        drain::show,
        hold::hold,
        hold::release,
        rollout::start,
        rollout::start_several,
        rollout::list,
        rollout::one,
        rollout::steer,
        drill::drill,
        report::report,
        approval::show,
        approval::agree,
        validation::validated,
        hooks::alertmanager,
        jobs::list,
        jobs::retry,
        jobs::cancel,
        explain::explain,
        events::events,
        config::show,
        config::drift,
        config::reload,
        upgrade::upgrade,
        document,
        metrics::scrape,
        status::healthz,
        status::readyz
    ),
    modifiers(&Credentials),
    security((), ("token" = []))
)]
struct Document;

/// Tokens are asked for where some are configured.
struct Credentials;

impl Modify for Credentials {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        openapi.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(bearer));
    }
}

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", operation_id = "openapi", tag = "process", responses((status = 200, description = "OpenAPI 3.1")))]
pub(super) async fn document() -> ([(HeaderName, &'static str); 1], Json<utoipa::openapi::OpenApi>) {
    ([(header::CACHE_CONTROL, "no-cache")], Json(Document::openapi()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_described_and_every_reference_leads_somewhere() {
        let json = serde_json::to_value(Document::openapi()).unwrap();
        assert_eq!(json["paths"].as_object().unwrap().len(), 32);
        for operation in json["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values())
        {
            for response in operation["responses"].as_object().unwrap().values() {
                assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{operation}");
            }
        }
        let text = json.to_string();
        let references: Vec<_> = text.split("\"$ref\":\"#").skip(1).map(|r| r.split('"').next().unwrap()).collect();
        assert!(references.len() > 20, "{references:?}");
        for reference in references {
            assert!(json.pointer(reference).is_some(), "{reference}");
        }
    }
}
