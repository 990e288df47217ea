//! The words that a business has of its own.

use serde_json::{Value, json};

use super::{
    Access::{self, All, Managers},
    Operation,
};

/// Their paths name no thing of anybody's: whoever calls has their own.
pub(super) fn operations() -> Vec<Operation> {
    let one = |name, access: Access, rest: &str, body: Value, answer| Operation {
        name,
        access,
        path: format!("/api/v1/business/templates{rest}"),
        body: (!body.is_null()).then_some(body),
        answer,
    };
    let own = "/confirmation/de";
    let words = json!({"subject": "Ihr Termin bei {{ business }}"});
    let preview = "POST /api/v1/business/templates/{kind}/{locale}/preview";
    let test = "POST /api/v1/business/templates/{kind}/{locale}/test-send";
    vec![
        one("GET /api/v1/business/templates", All, "", json!(null), 200),
        one("GET /api/v1/business/templates/{kind}/{locale}", All, own, json!(null), 200),
        one("PUT /api/v1/business/templates/{kind}/{locale}", Managers, own, words.clone(), 200),
        one(preview, Managers, "/confirmation/de/preview", words, 200),
        one(test, Managers, "/confirmation/de/test-send", json!({}), 200),
        one("DELETE /api/v1/business/templates/{kind}/{locale}", Managers, own, json!(null), 204),
    ]
}
