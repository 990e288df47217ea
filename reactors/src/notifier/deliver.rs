use std::time::{Duration, Instant};

use domain::{
    NotificationId, StaffId, Zone,
    appointment::{Appointment, Visit},
    business::{Business, BusinessState},
    notification::{AccountMail, Channel, Kind, NotificationCommand, Recipient},
};
use jiff::{SignedDuration, Timestamp};
use lettre::Message;
use projections::{ReadError, agenda::Contact, templates::Templates};
use streams::{
    BoxError, clock, crash_point,
    log::{Loaded, Recorded, StreamKey, Unreadable, as_of},
};

use super::{
    Notifier, Offer, POINT,
    gate::Gate,
    lease::{QUIET_HOURS, Seen, Taken},
};
use crate::{
    GuestCalendar,
    hosts::Addresses,
    mail::{About, Mail, Own, Urls},
    provider::{HandOver, Refusal},
    reach::{self, Asked},
    scheduler::GUEST_PREFERENCE,
    sms::Text,
    smtp::Ready,
    work::Work,
};

/// From the last look at the visit to the first word to the provider.
const FROM_LOOK_TO_SEND: Duration = Duration::from_secs(5);

/// What there is to send. `seen` is the last event of the appointment that it was written after.
pub(super) enum Prepared {
    Mail {
        mail: Mail,
        to: Vec<String>,
        seen: Option<u64>,
    },
    Text {
        body: String,
        to: String,
        seen: Option<u64>,
    },
    /// The appointment is not any more what the message says, or for another reason the guest does not want it.
    CalledOff {
        reason: Option<&'static str>,
    },
    NoContact,
    /// It comes so late that nobody wants to be reminded now.
    Quiet {
        until: Timestamp,
    },
}

/// Ready to be handed over.
struct Outgoing {
    letter: Letter,
    /// The last event of the appointment that it was written after.
    seen: Option<u64>,
}

enum Letter {
    Mail(Box<(Ready, Message)>),
    Text(Text),
}

impl Letter {
    /// Goes away without having sent anything.
    async fn abandon(self) {
        match self {
            Self::Mail(mail) => mail.0.abandon().await,
            Self::Text(_) => {}
        }
    }
}

impl Notifier {
    /// Sends an offered message, unless somebody else took it. Never fails: what cannot be recorded
    /// now is found again when its lease ends.
    pub(crate) async fn deliver(&self, offer: Offer) {
        let (id, gate) = (offer.id, self.gate(offer.channel));
        let done = match gate.pass(offer.business_id).await {
            Ok(()) => {
                let done = self.try_deliver(id, gate).await;
                // Whoever asked has said how it went.
                gate.unasked();
                done
            }
            Err(wait) => self.postpone(id, wait).await.map_err(Into::into),
        };
        if let Err(error) = done {
            tracing::warn!(notification = %id, %error, "a send was left to its lease");
        }
    }

    async fn try_deliver(&self, id: NotificationId, gate: &Gate) -> Result<(), BoxError> {
        let Some(taken) = self.take(id).await? else { return Ok(()) };
        crash_point(POINT, "taken").await;
        // Longer than its lease nobody may be at it, whatever does not answer.
        let getting_ready =
            tokio::time::timeout(self.timing.send_lease, self.get_ready(&taken, gate));
        match getting_ready.await.map_err(BoxError::from).flatten() {
            Ok(Some(outgoing)) => self.hand_over(&taken, outgoing, gate).await,
            Ok(None) => Ok(()),
            Err(error) => {
                // What cannot be prepared at all must not be tried without a pause.
                let tries = Duration::from_secs(u64::from(taken.work.attempts));
                self.give_back(&taken, tries * taken.work.attempts).await;
                Err(error)
            }
        }
    }

    /// Does all that comes before the hand-over, of a mail as far as RCPT; `None` when there is nothing to
    /// hand over.
    async fn get_ready(&self, taken: &Taken, gate: &Gate) -> Result<Option<Outgoing>, BoxError> {
        let attempt = taken.work.attempts;
        let failed = |reason: &str| NotificationCommand::RecordFailure {
            attempt,
            reason: reason.to_owned(),
        };
        let (mail, to, seen) = match self.prepare(&taken.work).await? {
            Prepared::Mail { mail, to, seen } => (mail, to, seen),
            Prepared::Text { body, to, seen } => {
                let id = format!("{}.{}", taken.work.notification_id, taken.work.version);
                let letter = Letter::Text(Text { id, attempt, to, body });
                return Ok(Some(Outgoing { letter, seen }));
            }
            Prepared::CalledOff { reason } => {
                let reason = reason.map(str::to_owned);
                self.record(taken, NotificationCommand::Cancel { reason }, None).await?;
                return Ok(None);
            }
            Prepared::NoContact => {
                self.record(taken, failed("no_contact"), None).await?;
                return Ok(None);
            }
            Prepared::Quiet { until: next_at } => {
                let reason = QUIET_HOURS.to_owned();
                let wait = NotificationCommand::RecordRetry { attempt, reason, next_at };
                self.record(taken, wait, None).await?;
                return Ok(None);
            }
        };
        let message = match self.smtp.message(&taken.work, &mail, &to) {
            Ok(message) => message,
            Err(error) => {
                let answer = Some(error.to_string());
                self.record(taken, failed("unusable_address"), answer).await?;
                return Ok(None);
            }
        };
        match self.smtp.prepare(&message).await {
            Ok(ready) => {
                let letter = Letter::Mail(Box::new((ready, message)));
                Ok(Some(Outgoing { letter, seen }))
            }
            Err(refusal) => {
                self.refused(taken, refusal, gate).await?;
                Ok(None)
            }
        }
    }

    /// From here on the lease decides: without it nothing is handed over.
    async fn hand_over(
        &self,
        taken: &Taken,
        Outgoing { letter, seen }: Outgoing,
        gate: &Gate,
    ) -> Result<(), BoxError> {
        let id = taken.work.notification_id;
        crash_point(POINT, "prepared").await;
        // A process that stops may not live to record the outcome: the next one sends instead.
        let (stopping, looked) = (self.sends.is_closed(), Instant::now());
        let seen = Seen { taken: taken.clone(), event: seen };
        let may_send = if stopping { Ok(false) } else { self.mark_handed_over(seen).await };
        crash_point(POINT, "marked").await;
        // Whoever was frozen in between does not know any more what they looked at.
        if !matches!(may_send, Ok(true)) || looked.elapsed() > FROM_LOOK_TO_SEND {
            letter.abandon().await;
            self.give_back(taken, Duration::ZERO).await;
            tracing::info!(notification = %id, stopping, "not handed over");
            return may_send.map(drop).map_err(Into::into);
        }
        let attempt = taken.work.attempts;
        let handed_over = match letter {
            Letter::Mail(mail) => {
                let (ready, message) = *mail;
                ready.hand_over(&message.formatted()).await
            }
            Letter::Text(text) => self.sms.send(&text).await,
        };
        crash_point(POINT, "sent").await;
        match handed_over {
            HandOver::Accepted { answer, receipt } => {
                gate.works();
                let late = clock::now().duration_since(taken.work.due_at).as_secs_f64();
                let channel = taken.work.channel.clone();
                metrics::histogram!("apptremind_notification_lateness_seconds", "channel" => channel)
                    .record(late);
                let sent = NotificationCommand::RecordSent { attempt, receipt: Some(receipt) };
                self.record(taken, sent, Some(answer)).await
            }
            HandOver::Refused(refusal) => self.refused(taken, refusal, gate).await,
            HandOver::Unknown { reason, answer, repeatable } => {
                gate.fails();
                let again = if repeatable { self.next_try(taken, None).await? } else { None };
                let command = match again {
                    Some(next_at) => NotificationCommand::RecordRetry { attempt, reason, next_at },
                    None => NotificationCommand::RecordUncertain { attempt, reason },
                };
                self.record(taken, command, Some(answer)).await
            }
        }
    }

    async fn refused(&self, taken: &Taken, refusal: Refusal, gate: &Gate) -> Result<(), BoxError> {
        let Refusal { permanent, reason, answer, down, not_before } = refusal;
        if down {
            gate.fails()
        } else {
            gate.works()
        }
        let attempt = taken.work.attempts;
        let again = if permanent { None } else { self.next_try(taken, not_before).await? };
        let command = match again {
            Some(next_at) => NotificationCommand::RecordRetry { attempt, reason, next_at },
            None => NotificationCommand::RecordFailure { attempt, reason },
        };
        self.record(taken, command, Some(answer)).await
    }

    /// When it is tried again; `None` when it was tried often enough.
    async fn next_try(
        &self,
        taken: &Taken,
        not_before: Option<Duration>,
    ) -> Result<Option<Timestamp>, BoxError> {
        let most = usize::try_from(taken.work.attempts).unwrap_or(usize::MAX).saturating_sub(1);
        // What the provider said must not be lost because of how often it was asked.
        let before = self.deferred(taken).await.unwrap_or(most);
        let Some(pause) = self.timing.retries.get(before) else { return Ok(None) };
        // Up to a tenth longer, so that messages refused together do not return together.
        let pause = pause.mul_f64(1.0 + rand::random::<f64>() / 10.0);
        let pause = not_before.map_or(pause, |least| pause.max(least));
        Ok(Some(clock::now() + SignedDuration::try_from(pause)?))
    }

    /// A link that was used, taken back or has expired meanwhile is not worth a mail.
    async fn prepare_account(&self, work: &Work, mail: AccountMail) -> Result<Prepared, BoxError> {
        let about = mail.about();
        let (url, sql) = match mail {
            AccountMail::PasswordReset { reset_id } => (
                self.links.reset_url(reset_id),
                "SELECT u.email, NULL AS role FROM password_reset r JOIN app_user u USING (user_id)
                  WHERE r.reset_id = $1 AND r.spent_at IS NULL AND r.expires_at > now()",
            ),
            AccountMail::Invitation { invitation_id } => (
                self.links.invitation_url(invitation_id),
                "SELECT email, role FROM invitation
                  WHERE invitation_id = $1 AND spent_at IS NULL AND expires_at > now()",
            ),
            AccountMail::WeeklySummary { week, .. } => return self.prepare_week(work, week).await,
        };
        let found: Option<(String, Option<String>)> =
            sqlx::query_as(sql).bind(about).fetch_optional(self.log.database().system()).await?;
        let key = StreamKey::of::<Business>(work.business_id);
        let histories = self.log.load(work.business_id, std::slice::from_ref(&key)).await?;
        let business: Loaded<Business> = histories.fold(&key)?;
        let (Some((to, role)), Some(business)) = (found, business.state.registered()) else {
            return Ok(Prepared::CalledOff { reason: None });
        };
        let until = work.expires_at;
        let mail = self.mails.about_account(mail, business, role.as_deref(), &url, until)?;
        Ok(Prepared::Mail { mail, to: vec![to], seen: None })
    }

    async fn prepare(&self, work: &Work) -> Result<Prepared, BoxError> {
        let about = work.appointment_id.uuid();
        if let Some(mail) = AccountMail::named(&work.kind, about, work.version) {
            return self.prepare_account(work, mail).await;
        }
        let business_key = StreamKey::of::<Business>(work.business_id);
        let key = StreamKey::of::<Appointment>(work.appointment_id);
        let keys = [business_key.clone(), key.clone()];
        // All is read by one connection, which says once for whom it is.
        let mut connection = self.log.database().tenant(work.business_id).await?;
        let histories = as_of(&mut *connection, work.business_id, &keys, None).await?;
        let business: Loaded<Business> = histories.fold(&business_key)?;
        let appointment: Loaded<Appointment> = histories.fold(&key)?;
        let (state, seen) = (&appointment.state, Some(appointment.sequence));
        let kind =
            Kind::named(&work.kind).ok_or("a message of a kind that this build does not know")?;
        let same = i64::from(state.revision()) + 1 == i64::from(work.version);
        let stands = state.known().filter(|(_, status)| same && kind.fits(*status));
        let (Some(business), Some((visit, status))) = (business.state.registered(), stands) else {
            return Ok(Prepared::CalledOff { reason: None });
        };
        let contact = Contact::read(&mut connection, work.business_id, work.appointment_id).await?;
        let asked = reach::asked(&mut connection, work.business_id, visit.customer_id).await?;
        drop(connection);
        let previous = previous(histories.events(&key))?;
        let moved = matches!(
            kind,
            Kind::Rescheduled | Kind::HostRescheduled | Kind::Requested | Kind::HostRequested
        );
        let previous = previous.as_ref().filter(|_| moved);
        let (expires_at, offered) = (state.expires_at(), state.offered_to().is_some());
        let about = About { business, visit, previous, expires_at, offered };
        if kind.recipient() == Recipient::Host {
            let by_guest = histories.events(&key).last().is_some_and(|e| e.actor == "guest");
            let mail = self.mails.to_host(kind, &about, contact.as_ref(), by_guest)?;
            let to = self.hosts(work, &about).await?;
            let there = (!to.is_empty()).then_some(Prepared::Mail { mail, to, seen });
            return Ok(there.unwrap_or(Prepared::NoContact));
        }
        let Some(contact) = contact else { return Ok(Prepared::NoContact) };
        if let Some(unwanted) = unwanted(work, business, visit, &contact, &asked) {
            return Ok(unwanted);
        }
        let own = if asked.own_words { self.own_words(kind, work, business).await? } else { None };
        let manage_url = self.links.manage_url(work.appointment_id);
        if work.channel == Channel::Sms.as_str() {
            let Some(to) = contact.phone.clone() else { return Ok(Prepared::NoContact) };
            let own = own.as_ref();
            let body = self.mails.text_to_guest(kind, &about, &contact, &manage_url, own)?;
            return Ok(Prepared::Text { body, to, seen });
        }
        let Some(to) = contact.email.clone() else { return Ok(Prepared::NoContact) };
        let unsubscribe = self.links.unsubscribe_url(work.appointment_id);
        let unsubscribe = (kind == Kind::Reminder).then_some(unsubscribe);
        let urls = Urls { manage: &manage_url, unsubscribe: unsubscribe.as_deref() };
        let mut mail = self.mails.to_guest(kind, &about, &contact, urls, own.as_ref())?;
        // A reminder says nothing new: calendars have what it is about. What was only asked for is in none.
        if kind != Kind::Reminder && (kind.is_agreed() || kind == Kind::Cancellation) {
            let calendar = GuestCalendar {
                appointment_id: work.appointment_id,
                version: appointment.sequence,
                visit,
                status,
                business,
                organizer: &self.smtp.address(),
                now: clock::now(),
            };
            mail.invitation = Some(calendar.invitation(&contact.name, &to));
        }
        Ok(Prepared::Mail { mail, to: vec![to], seen })
    }

    /// In what words the business wants to say it. A guest's own language would come first, if it were known.
    async fn own_words(
        &self,
        kind: Kind,
        work: &Work,
        business: &BusinessState,
    ) -> Result<Option<Own>, ReadError> {
        let templates = Templates::new(self.log.database().clone());
        let locales = business.profile.value.locales();
        let rows = templates.of_kind(work.business_id, kind, &locales).await?;
        let parts = rows.into_iter().map(|row| row.parts).find(|parts| !parts.is_empty());
        Ok(parts.map(|parts| Own { business_id: work.business_id, parts }))
    }

    /// Where whoever serves is reached now, and whoever was to serve before it was moved.
    async fn hosts(&self, work: &Work, about: &About<'_>) -> Result<Vec<String>, sqlx::Error> {
        let staff: Vec<StaffId> =
            about.previous.into_iter().chain([about.visit]).flat_map(staff_of).collect();
        let (pool, business_id) = (self.log.database().system(), work.business_id);
        Ok(Addresses::read(pool, &[business_id], &staff).await?.of(business_id, &staff))
    }
}

/// A reminder that nobody wants any more, or not at this hour.
fn unwanted(
    work: &Work,
    business: &BusinessState,
    visit: &Visit,
    contact: &Contact,
    asked: &Asked,
) -> Option<Prepared> {
    if work.kind != Kind::Reminder.as_str() {
        return None;
    }
    // They may have said so meanwhile.
    if !asked.wishes(&work.channel) {
        return Some(Prepared::CalledOff { reason: Some(GUEST_PREFERENCE) });
    }
    let quiet = business.reminders(visit.service_id).quiet_hours?;
    let own: Option<Zone> = contact.timezone.as_deref().and_then(|name| name.parse().ok());
    let zone = own.as_ref().unwrap_or(&business.profile.value.timezone);
    let until = quiet.wait(work.due_at, work.expires_at, clock::now(), zone)?;
    Some(Prepared::Quiet { until })
}

/// Everybody who serves.
fn staff_of(visit: &Visit) -> Vec<StaffId> {
    visit.held().into_iter().map(|held| held.staff_id).collect()
}

/// What was agreed before what is agreed now.
fn previous(events: &[Recorded]) -> Result<Option<Visit>, Unreadable> {
    let facts = events.iter().rev().map(Recorded::decode::<Appointment>);
    let mut agreed = Vec::new();
    for fact in facts {
        agreed.extend(fact?.agreed().map(|(visit, _)| visit));
        if agreed.len() == 2 {
            return Ok(agreed.pop());
        }
    }
    Ok(None)
}
