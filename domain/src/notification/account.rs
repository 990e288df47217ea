use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Channel, LocalWeek};
use crate::{BusinessId, InvitationId, NotificationId, ResetId};

/// What a mail to somebody who signs in, or is to, is about, other than visits. Each is sent once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AccountMail {
    /// "Choose another password."
    PasswordReset {
        /// Which one.
        reset_id: ResetId,
    },
    /// "Join us."
    Invitation {
        /// Which one.
        invitation_id: InvitationId,
    },
    /// "This is how the week went", to the owners.
    WeeklySummary {
        /// Of which business.
        business_id: BusinessId,
        /// Which week, on its own clock.
        week: LocalWeek,
    },
}

impl AccountMail {
    /// The mail of this kind about this thing, in this version.
    #[must_use]
    pub fn named(kind: &str, about: Uuid, version: u32) -> Option<Self> {
        let business_id = BusinessId::new(about);
        let all = [
            Some(Self::PasswordReset { reset_id: ResetId::new(about) }),
            Some(Self::Invitation { invitation_id: InvitationId::new(about) }),
            LocalWeek::numbered(version).map(|week| Self::WeeklySummary { business_id, week }),
        ];
        all.into_iter().flatten().find(|mail| mail.as_str() == kind)
    }

    /// Counts the mails about one thing, from 1. Of the same week, reset or invitation there is one.
    #[must_use]
    pub fn version(self) -> u32 {
        match self {
            Self::PasswordReset { .. } | Self::Invitation { .. } => 1,
            Self::WeeklySummary { week, .. } => week.number(),
        }
    }

    /// What it is about, as tables keep it.
    #[must_use]
    pub const fn about(self) -> Uuid {
        match self {
            Self::PasswordReset { reset_id } => reset_id.uuid(),
            Self::Invitation { invitation_id } => invitation_id.uuid(),
            Self::WeeklySummary { business_id, .. } => business_id.uuid(),
        }
    }

    /// The name in tables and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PasswordReset { .. } => "password_reset",
            Self::Invitation { .. } => "invitation",
            Self::WeeklySummary { .. } => "weekly_summary",
        }
    }
}

impl fmt::Display for AccountMail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A mail about an account, due at once, or about a week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountPlan {
    /// What it is about.
    #[serde(flatten)]
    pub mail: AccountMail,
    /// By what it travels.
    pub channel: Channel,
    /// When it is to go out.
    pub due_at: Timestamp,
    /// From when on its link is good no more, or the week is too long ago.
    pub expires_at: Timestamp,
}

const NAMESPACE: Uuid = Uuid::from_u128(0x2b5a_8c0e_71d4_4e6f_9a35_c1de_0f64_8b27);

impl AccountPlan {
    /// The mail to the owners of a business about one week.
    #[must_use]
    pub fn weekly_summary(business_id: BusinessId, week: LocalWeek, due_at: Timestamp) -> Self {
        Self {
            mail: AccountMail::WeeklySummary { business_id, week },
            channel: Channel::Email,
            due_at,
            expires_at: LocalWeek::untold_from(due_at),
        }
    }

    /// The id follows from what is sent, so that asking twice for the same mail asks for it once.
    #[must_use]
    pub fn notification_id(&self) -> NotificationId {
        let mut name = format!("{}/{}/{}", self.mail, self.mail.about(), self.channel);
        if let AccountMail::WeeklySummary { week, .. } = self.mail {
            name.push_str(&format!("/{}", week.monday()));
        }
        NotificationId::new(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use serde_json::json;

    use super::*;

    fn plan(business: u128, monday: jiff::civil::Date) -> AccountPlan {
        let due_at = "2026-03-09T07:00:00Z".parse().unwrap();
        let business_id = BusinessId::new(Uuid::from_u128(business));
        AccountPlan::weekly_summary(business_id, LocalWeek::of(monday), due_at)
    }

    #[test]
    fn a_week_of_a_business_is_one_mail() {
        let one = plan(1, date(2026, 3, 2));
        let later = AccountPlan { due_at: one.expires_at, ..one.clone() };
        assert_eq!(later.notification_id(), one.notification_id());
        assert_ne!(plan(1, date(2026, 3, 9)).notification_id(), one.notification_id());
        assert_ne!(plan(2, date(2026, 3, 2)).notification_id(), one.notification_id());
    }

    #[test]
    fn a_mail_is_found_again_by_what_tables_keep_of_it() {
        let about = Uuid::from_u128(7);
        for mail in [
            AccountMail::PasswordReset { reset_id: ResetId::new(about) },
            AccountMail::Invitation { invitation_id: InvitationId::new(about) },
            plan(7, date(2026, 3, 2)).mail,
        ] {
            let found = AccountMail::named(mail.as_str(), mail.about(), mail.version());
            assert_eq!(found, Some(mail));
        }
        assert_eq!(AccountMail::named("reminder", about, 1), None);
    }

    #[test]
    fn the_plan_of_a_week_is_stored_like_this() {
        let stored = json!({
            "kind": "weekly_summary", "business_id": "biz_00000000000000000000000000000001",
            "week": "2026-03-02", "channel": "email",
            "due_at": "2026-03-09T07:00:00Z", "expires_at": "2026-03-10T07:00:00Z",
        });
        let plan = plan(1, date(2026, 3, 2));
        assert_eq!(serde_json::to_value(&plan).unwrap(), stored);
        assert_eq!(serde_json::from_value::<AccountPlan>(stored).unwrap(), plan);
    }
}
