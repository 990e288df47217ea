//! Who is told of a visit besides its guest: whoever serves them, and where that address is not known the
//! owners of the business.

use std::collections::HashMap;

use domain::{BusinessId, StaffId, UserId};
use sqlx::{PgConnection, PgExecutor};
use streams::log::Recorded;
use uuid::Uuid;

/// One mail has no more recipients.
const MOST: usize = 20;

/// Where hosts are reached at this moment.
pub(crate) struct Addresses {
    /// By staff member.
    staff: HashMap<Uuid, String>,
    /// By business.
    owners: HashMap<Uuid, Vec<String>>,
}

impl Addresses {
    pub(crate) async fn read(
        executor: impl PgExecutor<'_>,
        businesses: &[BusinessId],
        staff: &[StaffId],
    ) -> Result<Self, sqlx::Error> {
        let rows: Vec<(bool, Uuid, String)> = sqlx::query_as(
            "SELECT false, staff_id, email FROM staff_private
              WHERE staff_id = ANY($1) AND business_id = ANY($2) AND email IS NOT NULL
             UNION ALL
             SELECT true, m.business_id, u.email FROM membership m JOIN app_user u USING (user_id)
              WHERE m.business_id = ANY($2) AND m.role = 'owner'
              ORDER BY 3",
        )
        .bind(staff.iter().map(|id| id.uuid()).collect::<Vec<_>>())
        .bind(businesses.iter().map(|id| id.uuid()).collect::<Vec<_>>())
        .fetch_all(executor)
        .await?;
        let mut found = Self { staff: HashMap::new(), owners: HashMap::new() };
        for (is_owner, id, email) in rows {
            if is_owner {
                found.owners.entry(id).or_default().push(email);
            } else {
                found.staff.insert(id, email);
            }
        }
        Ok(found)
    }

    /// Each address once.
    pub(crate) fn of(&self, business_id: BusinessId, staff: &[StaffId]) -> Vec<String> {
        let owners = self.owners.get(&business_id.uuid()).map_or(&[][..], Vec::as_slice);
        let of_one = |id: &StaffId| self.staff.get(&id.uuid()).map_or(owners, std::slice::from_ref);
        once(staff.iter().flat_map(of_one))
    }

    /// Those of the owners, each once.
    pub(crate) fn of_owners(&self, business_id: BusinessId) -> Vec<String> {
        once(self.owners.get(&business_id.uuid()).into_iter().flatten())
    }
}

fn once<'a>(addresses: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for address in addresses {
        if !all.iter().any(|there| there.eq_ignore_ascii_case(address)) {
            all.push(address.clone());
        }
    }
    all.truncate(MOST);
    all
}

/// Who is told besides the guests of a batch.
pub(crate) struct Hosts {
    addresses: Addresses,
    /// By user: of those who changed something.
    users: HashMap<Uuid, String>,
}

impl Hosts {
    /// For these events; `staff` are those whom they are about.
    pub(crate) async fn read(
        connection: &mut PgConnection,
        events: &[&Recorded],
        businesses: &[BusinessId],
        staff: &[StaffId],
    ) -> Result<Self, sqlx::Error> {
        let users: Vec<Uuid> = events.iter().filter_map(|event| user(event)).collect();
        Ok(Self {
            addresses: Addresses::read(&mut *connection, businesses, staff).await?,
            users: addresses_of_users(connection, &users).await?,
        })
    }

    /// The only one who would be told is the one who did it.
    pub(crate) fn did_it_themselves(&self, event: &Recorded, staff: &[StaffId]) -> bool {
        let Some(own) = user(event).and_then(|id| self.users.get(&id)) else { return false };
        let told = self.addresses.of(event.business_id, staff);
        !told.is_empty() && told.iter().all(|address| address.to_lowercase() == *own)
    }
}

/// Who is signed in, if anybody is.
fn user(event: &Recorded) -> Option<Uuid> {
    event.actor.parse::<UserId>().ok().map(|id| id.uuid())
}

/// The addresses of these users, in small letters.
async fn addresses_of_users(
    connection: &mut PgConnection,
    users: &[Uuid],
) -> Result<HashMap<Uuid, String>, sqlx::Error> {
    if users.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Uuid, String)> =
        sqlx::query_as("SELECT user_id, lower(email) FROM app_user WHERE user_id = ANY($1)")
            .bind(users)
            .fetch_all(connection)
            .await?;
    Ok(rows.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_address_is_told_through_the_owners_and_nobody_twice() {
        let (business, ids) = (Uuid::from_u128(9), [1, 2, 3].map(Uuid::from_u128));
        let addresses = Addresses {
            staff: [(ids[0], "dana@example.com".to_owned())].into(),
            owners: [(
                business,
                vec!["Dana@example.com".to_owned(), "olga@example.com".to_owned()],
            )]
            .into(),
        };
        let of = |staff: &[Uuid]| {
            let staff: Vec<StaffId> = staff.iter().map(|id| StaffId::new(*id)).collect();
            addresses.of(BusinessId::new(business), &staff)
        };
        assert_eq!(of(&ids[..1]), ["dana@example.com"]);
        assert_eq!(of(&ids[1..]), ["Dana@example.com", "olga@example.com"]);
        assert_eq!(of(&ids), ["dana@example.com", "olga@example.com"]);
    }
}
