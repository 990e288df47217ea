//! Members: invited, changed, removed; what staff may do; programs with keys.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    salon::{Salon, fresh_email, start_in, text},
    stand::{Answer, Client, Stand},
};

/// An invitation, as the owner and whoever is invited see it.
pub(crate) struct Invited {
    pub(crate) id: String,
    /// What stands behind the `#` in the mail.
    pub(crate) token: String,
}

/// The secrets of the links to this page that somebody was mailed, the newest last.
async fn mailed_tokens(stand: &Stand, email: &str, page: &str) -> Vec<String> {
    let link = format!("{page}#");
    let mails = stand.mail.messages().await;
    let theirs = mails.iter().filter(|mail| mail.to.iter().any(|to| to == email));
    let texts = theirs.filter_map(|mail| mail.text.as_ref());
    let token =
        |text: &String| Some(text.split(&link).nth(1)?.split_whitespace().next()?.to_owned());
    texts.filter_map(token).collect()
}

/// The newest of them, once there are more than `before`.
async fn mailed_after(stand: &Stand, email: &str, page: &str, before: usize) -> String {
    eventually("the link was mailed", async || {
        let all = mailed_tokens(stand, email, page).await;
        (all.len() > before).then(|| all.last().cloned()).flatten()
    })
    .await
}

/// The secret of the link in the newest mail to somebody that has one to this page.
pub(crate) async fn mailed_token(stand: &Stand, email: &str, page: &str) -> String {
    mailed_after(stand, email, page, 0).await
}

pub(crate) async fn invite(
    stand: &Stand,
    owner: &Client,
    email: &str,
    role: &str,
    staff: Option<&String>,
) -> Invited {
    const PAGE: &str = "/accept-invitation";
    let before = mailed_tokens(stand, email, PAGE).await.len();
    let wanted = json!({"email": email, "role": role, "staff_id": staff});
    let invited = owner.post("/api/v1/auth/invitations", &wanted).await.expect(201);
    let token = mailed_after(stand, email, PAGE, before).await;
    Invited { id: text(&invited["id"]), token }
}

pub(crate) async fn accept(guest: &Client, token: &str, password: &str) -> Answer {
    let body = json!({"token": token, "password": password});
    guest.post("/api/v1/auth/invitations/accept", &body).await
}

/// Somebody who joined with this role.
async fn joined(
    stand: &Stand,
    salon: &Salon,
    role: &str,
    staff: Option<&String>,
) -> (Client, String) {
    let invited = invite(stand, &salon.owner, &fresh_email(), role, staff).await;
    let accepted = accept(&salon.guest, &invited.token, "correct horse").await.expect(201);
    let client = salon.guest.signed_in(&text(&accepted["access_token"]));
    (client, text(&accepted["user"]["id"]))
}

#[tokio::test]
async fn whoever_is_invited_joins_once_with_a_new_account_or_their_own() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let other = Salon::open(&process.client(), 1).await;
    let (guest, owner) = (&salon.guest, &salon.owner);

    let email = fresh_email();
    let invited = invite(&stand, owner, &email, "staff", Some(&salon.staff[0])).await;
    let short = accept(guest, &invited.token, "short").await;
    assert_eq!(short.problem(422, "invalid_request")["errors"][0]["field"], "password");
    let accepted = accept(guest, &invited.token, "correct horse").await.expect(201);
    assert_eq!(accepted["user"]["role"], "staff");
    assert_eq!(accepted["business_id"], json!(salon.business_id));
    accept(guest, &invited.token, "correct horse").await.problem(410, "link_spent");
    let me = guest.signed_in(&text(&accepted["access_token"]));
    assert_eq!(me.read("/api/v1/auth/me").await.expect(200)["staff_id"], json!(salon.staff[0]));

    // The same account in a second business: with its own password, and both are theirs then.
    let again = invite(&stand, &other.owner, &email, "admin", None).await;
    accept(guest, &again.token, "not the password").await.problem(401, "invalid_credentials");
    let second = accept(guest, &again.token, "correct horse").await.expect(201);
    assert_eq!(second["user"]["id"], accepted["user"]["id"]);
    let there = guest.signed_in(&text(&second["access_token"]));
    let all = there.read("/api/v1/auth/businesses").await.expect(200);
    let all: Vec<_> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| (&b["id"], &b["role"], &b["current"]))
        .collect();
    let wanted = [
        (&json!(salon.business_id), &json!("staff"), &json!(false)),
        (&json!(other.business_id), &json!("admin"), &json!(true)),
    ];
    assert_eq!(all, wanted);
    let back = json!({"business_id": salon.business_id});
    let back = there.post("/api/v1/auth/switch", &back).await.expect(200);
    let back = guest.signed_in(&text(&back["access_token"]));
    assert_eq!(back.read("/api/v1/auth/me").await.expect(200)["role"], "staff");
    // Where they were last is where they are when they sign in.
    let login = json!({"email": email, "password": "correct horse"});
    let session = guest.post("/api/v1/auth/login", &login).await.expect(200);
    let session = guest.signed_in(&text(&session["access_token"]));
    let me = session.read("/api/v1/auth/me").await.expect(200);
    assert_eq!(me["business_id"], json!(salon.business_id));

    // Whoever is there is not invited again, a calendar is one person's, and a place has a calendar.
    let wish = |email: &str, role: &str, staff: Value| json!({"email": email, "role": role, "staff_id": staff});
    let sent = async |body: Value| owner.post("/api/v1/auth/invitations", &body).await;
    sent(wish(&email, "admin", json!(null))).await.problem(409, "already_member");
    let taken = wish(&fresh_email(), "staff", json!(salon.staff[0]));
    sent(taken).await.problem(409, "staff_taken");
    let without = sent(wish(&fresh_email(), "staff", json!(null))).await;
    assert_eq!(without.problem(422, "invalid_request")["errors"][0]["field"], "staff_id");
    let theirs = sent(wish(&fresh_email(), "staff", json!(other.staff[0]))).await;
    assert_eq!(theirs.problem(422, "invalid_request")["errors"][0]["field"], "staff_id");
    sent(wish("nobody", "admin", json!(null))).await.problem(422, "invalid_request");
    // One that was taken back is good no more.
    let gone = invite(&stand, owner, &fresh_email(), "admin", None).await;
    let listed = owner.read("/api/v1/auth/invitations").await.expect(200);
    assert_eq!(listed["items"][0]["id"], json!(gone.id));
    let path = format!("/api/v1/auth/invitations/{}", gone.id);
    for _ in 0..2 {
        owner.call(Method::DELETE, &path, None).await.expect(204);
    }
    accept(guest, &gone.token, "correct horse").await.problem(410, "link_spent");
    let listed = owner.read("/api/v1/auth/invitations").await.expect(200);
    assert_eq!(listed["items"], json!([]));
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn a_member_who_is_changed_or_removed_is_so_at_once_and_there_is_always_an_owner() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let elsewhere = stand.serve().await;
    let salon = Salon::open(&process.client(), 2).await;
    let owner = &salon.owner;
    let (admin, id) = joined(&stand, &salon, "admin", None).await;
    let path = format!("/api/v1/members/{id}");
    let own = text(&owner.read("/api/v1/auth/me").await.expect(200)["id"]);
    let own = format!("/api/v1/members/{own}");

    // Admins make no owners, and unmake none.
    let role = |role: &str| json!({ "role": role });
    admin.edit(Method::PATCH, &path, &role("owner")).await.problem(403, "owners_only");
    admin.edit(Method::PATCH, &own, &role("admin")).await.problem(403, "owners_only");
    admin.call(Method::DELETE, &own, None).await.problem(403, "owners_only");
    owner.edit(Method::PATCH, &own, &role("admin")).await.problem(409, "last_owner");
    owner.call(Method::DELETE, &own, None).await.problem(409, "last_owner");
    admin.edit(Method::PATCH, &path, &role("staff")).await.problem(422, "invalid_request");

    // A calendar is one person's.
    joined(&stand, &salon, "staff", Some(&salon.staff[1])).await;
    let taken = json!({"role": "staff", "staff_id": salon.staff[1]});
    owner.edit(Method::PATCH, &path, &taken).await.problem(409, "staff_taken");
    let nobody = json!({"role": "staff", "staff_id": format!("staff_{}", "0".repeat(32))});
    let answer = owner.edit(Method::PATCH, &path, &nobody).await;
    assert_eq!(answer.problem(422, "invalid_request")["errors"][0]["field"], "staff_id");

    // Another role is another role at once, also at another process.
    let staff = json!({"role": "staff", "staff_id": salon.staff[0]});
    let changed = owner.edit(Method::PATCH, &path, &staff).await.expect(200);
    assert_eq!((&changed["role"], &changed["staff_id"]), (&json!("staff"), &json!(salon.staff[0])));
    admin.read("/api/v1/members").await.problem(401, "unauthorized");
    eventually("the other process knows", async || {
        let there = admin.at(&elsewhere);
        (there.read("/api/v1/members").await.status == 401).then_some(())
    })
    .await;
    let email = changed["email"].clone();
    let login = json!({"email": email, "password": "correct horse"});
    let session = salon.guest.post("/api/v1/auth/login", &login).await.expect(200);
    let now = salon.guest.signed_in(&text(&session["access_token"]));
    now.read("/api/v1/members").await.problem(403, "forbidden");

    owner.edit(Method::PATCH, &path, &role("owner")).await.expect(200);
    owner.edit(Method::PATCH, &own, &role("admin")).await.expect(200);
    let session = salon.guest.post("/api/v1/auth/login", &login).await.expect(200);
    let new_owner = salon.guest.signed_in(&text(&session["access_token"]));
    new_owner.call(Method::DELETE, &path, None).await.problem(409, "last_owner");
    new_owner.call(Method::DELETE, &own, None).await.expect(204);
    salon.owner.read("/api/v1/auth/me").await.problem(401, "unauthorized");
    new_owner.call(Method::DELETE, &own, None).await.problem(404, "not_found");
    let members = new_owner.read("/api/v1/members").await.expect(200);
    assert_eq!(members["items"].as_array().unwrap().len(), 2);
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_owners_who_unmake_each_other_at_once_leave_one() {
    let stand = Stand::new().await;
    let (one, two) = (stand.serve().await, stand.serve().await);
    for _ in 0..5 {
        let salon = Salon::open(&one.client(), 1).await;
        let (other, id) = joined(&stand, &salon, "owner", None).await;
        let own = text(&salon.owner.read("/api/v1/auth/me").await.expect(200)["id"]);
        let demote = async |client: &Client, id: &str| {
            let path = format!("/api/v1/members/{id}");
            client.edit(Method::PATCH, &path, &json!({"role": "admin"})).await
        };
        let there = other.at(&two);
        let (a, b) = tokio::join!(demote(&salon.owner, &id), demote(&there, &own));
        let mut statuses = [a.status, b.status];
        statuses.sort_unstable();
        // Whoever came second is no owner any more, or would have been the last.
        assert!(statuses[0] == 200 && [401, 403, 409].contains(&statuses[1]), "{a:?} {b:?}");
        let owners =
            "SELECT count(*)::text FROM membership WHERE role = 'owner' AND business_id = ";
        let business = salon.business_id.trim_start_matches("biz_");
        assert_eq!(stand.database.texts(&format!("{owners}'{business}'")).await, ["1"]);
    }
}

#[tokio::test]
async fn staff_see_and_change_their_own_calendar_and_no_other() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 2).await;
    let (staff, _) = joined(&stand, &salon, "staff", Some(&salon.staff[0])).await;
    let mine = text(&salon.book(0, start_in(600)).await.expect(201)["appointment_id"]);
    let theirs = salon.book(1, start_in(600)).await;
    let position = theirs.header("x-position").to_owned();
    let theirs = text(&theirs.expect(201)["appointment_id"]);

    let list = format!("/api/v1/appointments?min_position={position}");
    let listed = staff.read(&list).await.expect(200);
    let ids: Vec<_> = listed["items"].as_array().unwrap().iter().map(|a| text(&a["id"])).collect();
    assert_eq!(ids, std::slice::from_ref(&mine), "only their own");
    let of_other = format!("{list}&staff_id={}", salon.staff[1]);
    staff.read(&of_other).await.problem(403, "forbidden");
    for rest in ["", "/history"] {
        staff.read(&format!("/api/v1/appointments/{mine}{rest}")).await.expect(200);
        let other = format!("/api/v1/appointments/{theirs}{rest}");
        staff.read(&other).await.problem(403, "forbidden");
    }
    let moved = json!({"start": start_in(700)});
    let to_other = json!({"start": start_in(800), "staff_id": salon.staff[1]});
    let path = |id: &str, rest: &str| format!("/api/v1/appointments/{id}/{rest}");
    staff.post(&path(&mine, "reschedule"), &moved).await.expect(200);
    staff.post(&path(&mine, "reschedule"), &to_other).await.problem(403, "forbidden");
    let rules = json!({"start": start_in(900), "override": ["outside_hours"]});
    staff.post(&path(&mine, "reschedule"), &rules).await.problem(403, "forbidden");
    staff.post(&path(&theirs, "reschedule"), &moved).await.problem(403, "forbidden");
    for end in ["cancel", "complete", "no-show", "confirm", "decline", "reinstate"] {
        staff.post(&path(&theirs, end), &json!({})).await.problem(403, "forbidden");
    }
    let all = json!({"scope": "all"});
    staff.post(&path(&mine, "cancel"), &all).await.problem(403, "forbidden");
    staff.post(&path(&mine, "cancel"), &json!({})).await.expect(200);
    staff.post(&path(&mine, "reinstate"), &json!({})).await.expect(200);

    staff.post("/api/v1/appointments", &salon.booking(0, start_in(1_200))).await.expect(201);
    let other = salon.booking(1, start_in(1_200));
    staff.post("/api/v1/appointments", &other).await.problem(403, "forbidden");
    let mut anybody = salon.booking(0, start_in(1_300));
    anybody.as_object_mut().unwrap().remove("staff_id");
    staff.post("/api/v1/appointments", &anybody).await.problem(403, "forbidden");

    let away = json!({"start": start_in(5_000), "end": start_in(5_060)});
    let time_off = |n: usize| format!("/api/v1/business/staff/{}/time-off", salon.staff[n]);
    let entered = staff.post(&time_off(0), &away).await.expect(201);
    staff.read(&time_off(0)).await.expect(200);
    let one = format!("{}/{}", time_off(0), text(&entered["id"]));
    staff.call(Method::DELETE, &one, None).await.expect(204);
    staff.post(&time_off(1), &away).await.problem(403, "forbidden");
    staff.read(&time_off(1)).await.problem(403, "forbidden");
    for n in [0, 1] {
        let answers = [
            format!("/api/v1/calendars/{}?from=2026-03-02", salon.staff[n]),
            format!("/api/v1/business/staff/{}/working-hours", salon.staff[n]),
            format!("/api/v1/business/staff/{}/calendar-feed", salon.staff[n]),
        ];
        for path in answers {
            assert_eq!(staff.read(&path).await.status, if n == 0 { 200 } else { 403 }, "{path}");
        }
    }
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn a_visit_that_colleagues_share_is_seen_by_each_and_changed_by_none_of_them_alone() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 2).await;
    let (staff, _) = joined(&stand, &salon, "staff", Some(&salon.staff[0])).await;
    let other = json!({"name": "Bath", "duration_minutes": 30, "staff_ids": [salon.staff[1]],
                       "price": {"amount": 1_000, "currency": "USD"}});
    let other = salon.owner.post("/api/v1/business/services", &other).await.expect(201);
    let mut wish = salon.booking(0, start_in(600));
    wish["also"] = json!([{"service_id": other["id"]}]);
    let booked = salon.guest.post("/api/v1/public/book", &wish).await.expect(201);
    assert_eq!(booked["parts"][1]["staff_id"], json!(salon.staff[1]), "{booked}");

    let path = format!("/api/v1/appointments/{}", text(&booked["appointment_id"]));
    for rest in ["", "/history"] {
        staff.read(&format!("{path}{rest}")).await.expect(200);
    }
    let moved = json!({"start": start_in(700)});
    staff.post(&format!("{path}/reschedule"), &moved).await.problem(403, "forbidden");
    for end in ["cancel", "complete", "no-show", "confirm", "decline", "reinstate"] {
        staff.post(&format!("{path}/{end}"), &json!({})).await.problem(403, "forbidden");
    }
    staff.call(Method::DELETE, &path, None).await.problem(403, "forbidden");
    salon.owner.post(&format!("{path}/cancel"), &json!({})).await.expect(200);
}

/// Another process takes a token for a moment after its owner is something else: nothing that lasts may come of it.
#[tokio::test]
async fn a_token_of_yesterday_makes_nothing_that_lasts() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 2).await;
    let (admin, id) = joined(&stand, &salon, "admin", None).await;
    let path = format!("/api/v1/members/{id}");
    let other = joined(&stand, &salon, "staff", Some(&salon.staff[1])).await.1;
    // As if no process had heard of it: the tables alone say what they are.
    let user = id.trim_start_matches("user_");
    let demote = format!(
        "UPDATE membership SET role = 'staff', staff_id = '{}' WHERE user_id = '{user}'",
        salon.staff[0].trim_start_matches("staff_")
    );
    stand.database.execute(&demote).await;
    admin.read("/api/v1/members").await.expect(200);
    let key = json!({"name": "Till", "scopes": ["business:read"]});
    admin.post("/api/v1/api-keys", &key).await.problem(403, "forbidden");
    let friend = json!({"email": fresh_email(), "role": "admin"});
    admin.post("/api/v1/auth/invitations", &friend).await.problem(403, "forbidden");
    admin.edit(Method::PATCH, &path, &json!({"role": "admin"})).await.problem(403, "forbidden");
    let other = format!("/api/v1/members/{other}");
    admin.call(Method::DELETE, &other, None).await.problem(403, "forbidden");
    // To leave is theirs whatever they are.
    admin.call(Method::DELETE, &path, None).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_opened_from_a_session_that_ends_at_that_moment() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let me = salon.owner.read("/api/v1/auth/me").await.expect(200);
    let login = json!({"email": me["email"], "password": "correct horse"});
    let switch = json!({"business_id": salon.business_id});
    for _ in 0..5 {
        // Many at once are let in, too.
        let sign_ins = (0..4).map(|_| salon.guest.post("/api/v1/auth/login", &login));
        let sessions = futures::future::join_all(sign_ins).await;
        let session = sessions.into_iter().map(|answer| answer.expect(200)).next().unwrap();
        let client = salon.guest.signed_in(&text(&session["access_token"]));
        let end = json!({"refresh_token": session["refresh_token"]});
        let switches =
            futures::future::join_all((0..8).map(|_| client.post("/api/v1/auth/switch", &switch)));
        let (switched, ended) =
            tokio::join!(switches, salon.guest.post("/api/v1/auth/logout", &end));
        ended.expect(204);
        for answer in switched {
            assert!([200, 401, 503].contains(&answer.status), "{}", answer.body);
        }
        let left = "SELECT count(*)::text FROM session s JOIN session r ON r.session_id = s.root_id
                     WHERE s.ended_at IS NULL AND r.ended_at IS NOT NULL";
        assert_eq!(stand.database.texts(left).await, ["0"]);
    }
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn a_session_that_came_from_another_ends_with_it() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let (here, there) =
        (Salon::open(&process.client(), 1).await, Salon::open(&process.client(), 1).await);
    let guest = &here.guest;
    let email = fresh_email();
    for salon in [&here, &there] {
        let invited = invite(&stand, &salon.owner, &email, "admin", None).await;
        accept(guest, &invited.token, "correct horse").await.expect(201);
    }
    let login = json!({"email": email, "password": "correct horse"});
    let sign_in = async || guest.post("/api/v1/auth/login", &login).await.expect(200);
    let switch = async |from: &Value, to: &Salon| {
        let from = guest.signed_in(&text(&from["access_token"]));
        from.post("/api/v1/auth/switch", &json!({"business_id": to.business_id})).await
    };
    let me = async |session: &Value| {
        guest.signed_in(&text(&session["access_token"])).read("/api/v1/auth/me").await
    };
    let refresh = async |session: &Value| {
        let body = json!({"refresh_token": session["refresh_token"]});
        guest.post("/api/v1/auth/refresh", &body).await
    };
    let apart = sign_in().await;
    let root = sign_in().await;
    let switched = switch(&root, &here).await.expect(200);
    let again = switch(&root, &here).await.expect(200);
    // The second takes the place of the first; the one that asked goes on.
    me(&switched).await.problem(401, "unauthorized");
    for session in [&root, &again, &apart] {
        me(session).await.expect(200);
    }
    let ends = "SELECT count(DISTINCT expires_at)::text FROM session
                 WHERE ended_at IS NULL GROUP BY coalesce(root_id, session_id) ORDER BY count(*) DESC LIMIT 1";
    assert_eq!(stand.database.texts(ends).await, ["1"], "it lasts no longer than its root");

    // Signing out is signing out, whichever of them it is done with.
    let body = json!({"refresh_token": again["refresh_token"]});
    guest.post("/api/v1/auth/logout", &body).await.expect(204);
    for session in [&root, &again] {
        me(session).await.problem(401, "unauthorized");
        refresh(session).await.problem(401, "invalid_refresh_token");
    }
    switch(&again, &there).await.problem(401, "unauthorized");
    me(&apart).await.expect(200);
    let apart = refresh(&apart).await.expect(200);

    // One of the list can be ended without the one that it came from.
    let switched = switch(&apart, &there).await.expect(200);
    let apart_now = guest.signed_in(&text(&apart["access_token"]));
    let listed = apart_now.read("/api/v1/auth/sessions").await.expect(200);
    let newest = format!("/api/v1/auth/sessions/{}", text(&listed["items"][0]["id"]));
    apart_now.call(Method::DELETE, &newest, None).await.expect(204);
    me(&switched).await.problem(401, "unauthorized");
    // Another password, and ending all others, ends also what came from the session that asks.
    let switched = switch(&apart, &there).await.expect(200);
    apart_now.call(Method::DELETE, "/api/v1/auth/sessions", None).await.expect(204);
    refresh(&switched).await.problem(401, "invalid_refresh_token");
    let switched = switch(&apart, &there).await.expect(200);
    let other = json!({"current_password": "correct horse", "new_password": "battery staple"});
    apart_now.post("/api/v1/auth/password", &other).await.expect(204);
    me(&switched).await.problem(401, "unauthorized");
    refresh(&switched).await.problem(401, "invalid_refresh_token");
    me(&apart).await.expect(200);
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn a_program_does_what_its_key_is_for_until_the_key_is_revoked_or_ends() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let elsewhere = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let keys = "/api/v1/api-keys";
    let wanted = json!({"name": "Till", "scopes": ["appointments:read", "appointments:write"]});
    let made = salon.owner.post(keys, &wanted).await.expect(201);
    let (id, key) = (text(&made["id"]), text(&made["key"]));
    let stored = "SELECT encode(secret_hash, 'escape') || payload::text FROM api_key, events
                   WHERE event_type = 'auth.api_key.created.v1'";
    let stored = stand.database.texts(stored).await;
    // A secret may have the mark that parts a key itself.
    let secret = key.splitn(3, '_').nth(2).unwrap();
    assert!(!stored.is_empty() && stored.iter().all(|row| !row.contains(secret)));

    let program = salon.guest.signed_in(&key);
    let booking = salon.booking(0, start_in(600));
    let booked = program.post("/api/v1/appointments", &booking).await.expect(201);
    let path = format!("/api/v1/appointments/{}", text(&booked["appointment_id"]));
    program.read(&path).await.expect(200);
    let history = program.read(&format!("{path}/history")).await.expect(200);
    assert_eq!(history["items"][0]["actor"], json!(id));
    assert_eq!(history["items"][0]["actor_role"], "program");
    program.read("/api/v1/customers").await.problem(403, "forbidden");
    program.read("/api/v1/auth/me").await.problem(403, "forbidden");
    let listed = salon.owner.read(keys).await.expect(200);
    assert_eq!(listed["items"][0]["id"], json!(id));
    assert!(listed["items"][0]["used_at"].is_string(), "{listed}");
    assert!(!listed.to_string().contains(secret), "{listed}");
    program.at(&elsewhere).read(&path).await.expect(200);

    let revoke = format!("{keys}/{id}");
    for _ in 0..2 {
        salon.owner.call(Method::DELETE, &revoke, None).await.expect(204);
    }
    program.read(&path).await.problem(401, "unauthorized");
    eventually("the other process knows", async || {
        (program.at(&elsewhere).read(&path).await.status == 401).then_some(())
    })
    .await;
    assert_eq!(salon.owner.read(keys).await.expect(200)["items"], json!([]));
    // Half a key, or another's secret, is none.
    let other = text(&salon.owner.post(keys, &wanted).await.expect(201)["key"]);
    let mixed = other.replace(other.splitn(3, '_').nth(2).unwrap(), secret);
    for odd in [mixed, other[..other.len() - 1].to_owned()] {
        salon.guest.signed_in(&odd).read(&path).await.problem(401, "unauthorized");
    }
    let bad = |body: Value| async move { body };
    for (body, field) in [
        (json!({"name": "", "scopes": ["business:read"]}), "name"),
        (json!({"name": "Till", "scopes": []}), "scopes"),
        (json!({"name": "Till", "scopes": ["everything"]}), "scopes[0]"),
        (
            json!({"name": "Till", "scopes": ["business:read"], "expires_at": "2020-01-01T00:00:00Z"}),
            "expires_at",
        ),
    ] {
        let answer = salon.owner.post(keys, &bad(body).await).await;
        assert_eq!(answer.problem(422, "invalid_request")["errors"][0]["field"], field);
    }
    stand.addresses.assert_healthy();
}
