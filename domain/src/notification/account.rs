use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Channel;
use crate::{InvitationId, NotificationId, ResetId};

/// What a mail to somebody who signs in, or is to, is about. Each is sent once.
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
}

impl AccountMail {
    /// The mail of this kind about this thing.
    #[must_use]
    pub fn named(kind: &str, about: Uuid) -> Option<Self> {
        let all = [
            Self::PasswordReset { reset_id: ResetId::new(about) },
            Self::Invitation { invitation_id: InvitationId::new(about) },
        ];
        all.into_iter().find(|mail| mail.as_str() == kind)
    }

    /// What it is about, as tables keep it.
    #[must_use]
    pub const fn about(self) -> Uuid {
        match self {
            Self::PasswordReset { reset_id } => reset_id.uuid(),
            Self::Invitation { invitation_id } => invitation_id.uuid(),
        }
    }

    /// The name in tables and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PasswordReset { .. } => "password_reset",
            Self::Invitation { .. } => "invitation",
        }
    }
}

impl fmt::Display for AccountMail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A mail about an account, due at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountPlan {
    /// What it is about.
    #[serde(flatten)]
    pub mail: AccountMail,
    /// By what it travels.
    pub channel: Channel,
    /// When it is to go out.
    pub due_at: Timestamp,
    /// From when on its link is good no more.
    pub expires_at: Timestamp,
}

const NAMESPACE: Uuid = Uuid::from_u128(0x2b5a_8c0e_71d4_4e6f_9a35_c1de_0f64_8b27);

impl AccountPlan {
    /// The id follows from what is sent, so that asking twice for the same mail asks for it once.
    #[must_use]
    pub fn notification_id(&self) -> NotificationId {
        let name = format!("{}/{}/{}", self.mail, self.mail.about(), self.channel);
        NotificationId::new(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
    }
}
