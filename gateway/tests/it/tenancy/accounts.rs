//! Who signs in, who else does, and the programs that do not.

use serde_json::{Value, json};

use super::{
    Access::{self, Account, Anybody, Managers},
    Operation, Things,
};
use crate::{
    salon::{Salon, fresh_email, text},
    stand::{Client, Stand},
    team::{accept, invite},
};

/// People and programs of the first business.
pub(super) struct Team {
    pub(super) admin: Client,
    /// Of the staff, with the third calendar, which is empty.
    pub(super) colleague: Client,
    /// With a key of every scope.
    pub(super) program: Client,
    /// With a key that is for reading the audit alone.
    pub(super) limited: Client,
    /// A member to be changed and removed.
    somebody: String,
    invitation: String,
    key: String,
    /// The token of an invitation that was mailed: good for accepting it, and for nothing else.
    invited: String,
}

pub(super) async fn team(stand: &Stand, salon: &Salon) -> Team {
    let join = async |role: &str, staff: Option<&String>| {
        let invited = invite(stand, &salon.owner, &fresh_email(), role, staff).await;
        accept(&salon.guest, &invited.token, "correct horse").await.expect(201)
    };
    let signed_in = |accepted: &Value| salon.guest.signed_in(&text(&accepted["access_token"]));
    let admin = signed_in(&join("admin", None).await);
    let colleague = signed_in(&join("staff", Some(&salon.staff[2])).await);
    let somebody = text(&join("admin", None).await["user"]["id"]);
    let open = invite(stand, &salon.owner, &fresh_email(), "admin", None).await;
    let key = async |scopes: Value| {
        let wanted = json!({"name": "Till", "scopes": scopes});
        salon.owner.post("/api/v1/api-keys", &wanted).await.expect(201)
    };
    let every = key(json!(domain::api_key::Scope::ALL.map(domain::api_key::Scope::as_str))).await;
    let limited = key(json!(["audit:read"])).await;
    Team {
        admin,
        colleague,
        program: salon.guest.signed_in(&text(&every["key"])),
        limited: salon.guest.signed_in(&text(&limited["key"])),
        somebody,
        invitation: open.id,
        key: text(&key(json!(["business:read"])).await["id"]),
        invited: open.token,
    }
}

/// Tokens and links that are good, for something else.
pub(super) fn of_other_use(things: &Things) -> Vec<String> {
    let last = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    vec![
        things.refresh_token.clone(),
        things.team.invited.clone(),
        last(&things.managed.0),
        things.managed.1.clone(),
        last(&things.feed).trim_end_matches(".ics").to_owned(),
        last(&things.waiting.1),
        format!("ark_{}_{}", "0".repeat(32), "s".repeat(43)),
    ]
}

/// None of them ends what another needs.
pub(super) fn operations(things: &Things) -> Vec<Operation> {
    let Things { salon, email, team, .. } = things;
    let one = |name, access: Access, path: &str, body: Value, answer| Operation {
        name,
        access,
        path: path.to_owned(),
        body: (!body.is_null()).then_some(body),
        answer,
    };
    let auth = |rest: &str| format!("/api/v1/auth/{rest}");
    let nothing = || json!(null);
    let member = format!("/api/v1/members/{}", team.somebody);
    let invitation = auth(&format!("invitations/{}", team.invitation));
    let key = format!("/api/v1/api-keys/{}", team.key);
    let session = auth(&format!("sessions/login_{}", "0".repeat(32)));
    let new_key = json!({"name": "Till", "scopes": ["business:read"]});
    let spent = json!({"token": "AAAA", "password": "correct horse"});
    let wrong = json!({"current_password": "wrong", "new_password": "correct horse 2"});
    let to = json!({"business_id": salon.business_id});
    let new = json!({"email": fresh_email(), "role": "admin"});
    use Access::Team;
    vec![
        one("GET /api/v1/public/business", Anybody, "/api/v1/public/business", nothing(), 404),
        one(
            "POST /api/v1/auth/password-reset",
            Anybody,
            &auth("password-reset"),
            json!({ "email": email }),
            202,
        ),
        one(
            "POST /api/v1/auth/password-reset/confirm",
            Anybody,
            &auth("password-reset/confirm"),
            spent.clone(),
            410,
        ),
        one(
            "POST /api/v1/auth/invitations/accept",
            Anybody,
            &auth("invitations/accept"),
            spent,
            410,
        ),
        one("POST /api/v1/auth/password", Account, &auth("password"), wrong, 422),
        one("GET /api/v1/auth/sessions", Account, &auth("sessions"), nothing(), 200),
        one("DELETE /api/v1/auth/sessions", Account, &auth("sessions"), nothing(), 204),
        // Somebody else's, or nobody's.
        one("DELETE /api/v1/auth/sessions/{id}", Account, &session, nothing(), 404),
        one("GET /api/v1/auth/businesses", Account, &auth("businesses"), nothing(), 200),
        one("POST /api/v1/auth/switch", Account, &auth("switch"), to, 200),
        one("GET /api/v1/auth/invitations", Team, &auth("invitations"), nothing(), 200),
        one("POST /api/v1/auth/invitations", Team, &auth("invitations"), new, 201),
        one("DELETE /api/v1/auth/invitations/{id}", Team, &invitation, nothing(), 204),
        one("GET /api/v1/members", Team, "/api/v1/members", nothing(), 200),
        one("PATCH /api/v1/members/{id}", Team, &member, json!({"role": "admin"}), 200),
        one("DELETE /api/v1/members/{id}", Team, &member, nothing(), 204),
        one("GET /api/v1/api-keys", Team, "/api/v1/api-keys", nothing(), 200),
        one("POST /api/v1/api-keys", Team, "/api/v1/api-keys", new_key, 201),
        one("DELETE /api/v1/api-keys/{id}", Team, &key, nothing(), 204),
        one("GET /api/v1/audit", Managers, "/api/v1/audit", nothing(), 200),
    ]
}
