//! The API document: what every operation has in common is said here, once.

mod answers;
mod bodies;
mod examples;
mod headers;
mod links;
mod parameters;
mod rule;
mod schemas;
mod words;

use axum::http::StatusCode;
use utoipa::{
    Modify, OpenApi as _,
    openapi::{
        Content, OpenApi, Ref, RefOr, Response,
        path::{Operation, ParameterIn, PathItem},
        security::{
            ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
        },
    },
};

use self::{examples::Examples, parameters::Parameters};
use super::permission::{self, Access, Staff};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "ApptRemind",
        description = "Appointments: owners publish services, guests book, reminders go out.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    modifiers(&Bearer),
    tags(
        (name = "identity", description = "Who signs in"),
        (name = "team", description = "Who else, and which programs"),
        (name = "business", description = "What the owner publishes"),
        (name = "public", description = "What guests use, without signing in"),
        (name = "appointments", description = "What is booked"),
        (name = "customers", description = "Who comes"),
        (name = "operations", description = "Whether it runs"),
    )
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let key = "an API key, which begins with ark_";
        let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(key)).build();
        let cookie = "for pages in browsers; changes need an Origin that is ours";
        let cookie = ApiKeyValue::with_description("__Host-apptremind-access", cookie);
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
        components.add_security_scheme("apiKey", SecurityScheme::Http(key));
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

/// The document without operations.
pub(super) fn empty() -> OpenApi {
    Document::openapi()
}

/// The document once it has every operation.
pub(super) fn complete(document: OpenApi) -> OpenApi {
    completed(document).0
}

/// Beside the document the rules and examples that belong to nothing in it: a test sees to it that there are
/// none.
fn completed(mut document: OpenApi) -> (OpenApi, Vec<String>) {
    let mut idle = schemas::complete(&mut document.components.get_or_insert_default().schemas);
    let (mut parameters, mut examples) = (Parameters::default(), Examples::read());
    for (name, path) in &mut document.paths.paths {
        let PathItem { get, put, post, delete, patch, .. } = path;
        let methods =
            [("GET", get), ("PUT", put), ("POST", post), ("DELETE", delete), ("PATCH", patch)];
        for (method, operation) in methods {
            let Some(operation) = operation else { continue };
            secure(operation, permission::access(method, name));
            add_common_problems(name, operation);
            describe(operation);
            parameters.complete(name, operation);
            headers::complete(name, method, operation);
            links::complete(operation);
            examples.complete(operation);
        }
    }
    idle.extend(parameters.idle());
    idle.extend(examples.idle());
    (document, idle)
}

/// Who may call it, as the table of permissions says.
fn secure(operation: &mut Operation, access: Option<Access>) {
    let Some(access) = access.filter(|access| access.needs_sign_in()) else { return };
    let none = || Vec::<String>::new();
    let scheme = |name: &str| SecurityRequirement::new(name, none());
    let mut schemes = vec![scheme("bearer"), scheme("cookie")];
    let note = match access {
        Access::With(scope, staff) => {
            schemes.push(scheme("apiKey"));
            let staff = match staff {
                Staff::No => "",
                Staff::Own => "; staff, for their own calendar",
                Staff::All => "; staff",
            };
            format!("For owners and admins{staff}; API keys with `{scope}`.")
        }
        Access::Team => "For owners and admins.".to_owned(),
        Access::Account | Access::Anybody | Access::Link => "For whoever is signed in.".to_owned(),
    };
    operation.security = Some(schemes);
    let text = operation.description.get_or_insert_default();
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    text.push_str(&note);
}

const PROBLEM: &str = "#/components/schemas/Problem";
const PROBLEM_JSON: &str = "application/problem+json";

/// What reading a request can answer, before the operation itself begins: handlers name only the rest.
fn add_common_problems(path: &str, operation: &mut Operation) {
    let mut common: Vec<u16> = vec![];
    if path.starts_with("/api/") {
        // All of them need Postgres.
        common.push(503);
    }
    if path.starts_with("/api/") || path.starts_with("/.well-known/") {
        common.push(429);
    }
    if operation.security.is_some() {
        common.extend([401, 403]);
    }
    if operation.request_body.is_some() {
        common.extend([400, 408, 413, 415, 422]);
    }
    let parameters = operation.parameters.iter().flatten();
    for parameter in parameters {
        match parameter {
            RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query => common.push(422),
            RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Path => common.push(404),
            RefOr::T(parameter) if parameter.name == "If-Match" => common.extend([412, 428]),
            RefOr::T(_) | RefOr::Ref(_) => {}
        }
    }
    for status in common {
        let problem = || {
            let mut response = Response::new("");
            let content = Content::new(Some(Ref::new(PROBLEM)));
            response.content.insert(PROBLEM_JSON.to_owned(), content.into());
            response.into()
        };
        operation.responses.responses.entry(status.to_string()).or_insert_with(problem);
    }
}

/// Puts the status into words, and problems under their own content type.
fn describe(operation: &mut Operation) {
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        let words = status.parse().ok().and_then(|status: StatusCode| status.canonical_reason());
        if response.description.is_empty() {
            response.description = words.unwrap_or_default().to_owned();
        }
        let is_problem = |content: &RefOr<Content>| match content {
            RefOr::T(Content { schema: Some(RefOr::Ref(schema)), .. }) => {
                schema.ref_location == PROBLEM
            }
            RefOr::T(_) | RefOr::Ref(_) => false,
        };
        if response.content.get("application/json").is_some_and(is_problem)
            && let Some(content) = response.content.shift_remove("application/json")
        {
            response.content.insert(PROBLEM_JSON.to_owned(), content);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_and_example_belongs_to_something() {
        let (_, idle) = completed(crate::http::routes().into_openapi());
        assert_eq!(idle, Vec::<String>::new());
    }
}
