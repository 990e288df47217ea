//! What becomes of a visit that was asked for: the business answers, or nobody does.

use domain::{
    Aggregate, AppointmentId, Decide,
    appointment::{Appointment, AppointmentCommand, AppointmentError},
};
use streams::{
    CommandContext,
    log::{Loaded, StreamKey, UnitOfWork},
};

use super::{
    EndingRefused,
    end::{Ended, check_reason},
};
use crate::{CommandError, Commands, Done, again::until_decided, error::Attempt};

/// What is said to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestAnswer {
    /// The visit is agreed.
    Confirm,
    /// The business does not take it.
    Decline {
        /// In somebody's words: personal, so not in events.
        reason: Option<String>,
    },
    /// Nobody answered in time.
    Expire,
}

/// A request to answer.
#[derive(Debug, Clone)]
pub struct AnswerRequest {
    /// For which visit.
    pub appointment_id: AppointmentId,
    /// How.
    pub answer: RequestAnswer,
}

impl Commands {
    /// Answers a request; giving the same answer again is already so. What is declined or has expired
    /// gives its time back in the same statement.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(appointment.id = %request.appointment_id))]
    pub async fn answer_request(
        &self,
        request: &AnswerRequest,
        context: &CommandContext,
    ) -> Result<Done<Ended>, CommandError<EndingRefused>> {
        if let RequestAnswer::Decline { reason } = &request.answer {
            let refused = |errors| CommandError::Refused(EndingRefused::Invalid(errors));
            check_reason(reason.as_deref()).map_err(refused)?;
        }
        let _turn = self.turn(context.business_id).await?;
        let attempt = || self.try_answer_request(request, context);
        until_decided("answer_request", attempt, |_| None).await
    }

    async fn try_answer_request(
        &self,
        request: &AnswerRequest,
        context: &CommandContext,
    ) -> Result<Done<Ended>, Attempt<EndingRefused>> {
        let id = request.appointment_id;
        let key = StreamKey::of::<Appointment>(id);
        let histories = self.log.load(context.business_id, std::slice::from_ref(&key)).await?;
        let appointment: Loaded<Appointment> = histories.fold(&key)?;
        let refused = |error: AppointmentError| Attempt::Refused(EndingRefused::from(error));
        let command = match request.answer {
            RequestAnswer::Confirm => AppointmentCommand::Confirm,
            RequestAnswer::Decline { .. } => AppointmentCommand::Decline,
            RequestAnswer::Expire => AppointmentCommand::Expire { now: context.now },
        };
        let events = appointment.state.decide(command).map_err(refused)?;
        let mut after = appointment.state.clone();
        events.iter().for_each(|event| after.apply(event.clone()));
        let (visit, status) = after.known().ok_or(refused(AppointmentError::NotFound))?;
        let version = appointment.sequence + events.len() as u64;
        let ended = Ended { visit: visit.clone(), status, version };
        if events.is_empty() {
            let position = self.last_position(&histories, &key).await?;
            return Ok(Done::new(ended, position));
        }
        let mut unit = UnitOfWork::new(context.clone());
        unit.append(&appointment, events)?;
        let reason = match &request.answer {
            RequestAnswer::Confirm => {
                unit.answer_request(id);
                None
            }
            RequestAnswer::Decline { reason } => {
                self.release(&mut unit, id, visit, context).await?;
                reason.as_deref()
            }
            RequestAnswer::Expire => {
                self.release(&mut unit, id, visit, context).await?;
                None
            }
        };
        let position = self.commit_with_reason(&unit, id, reason, context).await?;
        Ok(Done::new(ended, position))
    }
}
