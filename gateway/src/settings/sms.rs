use reactors::{Sms, Twilio, TwilioError, Webhook, WebhookError};

use super::{is_loopback, reader::Reader};

/// Who sends text messages. `public_url` is where Twilio tells what became of them.
pub(super) fn sms(reader: &mut Reader, http_host: &str, public_url: &str) -> Option<Sms> {
    let provider = reader.text("SMS_PROVIDER", "none");
    let url = reader.text("SMS_WEBHOOK_URL", "");
    let secret = reader.secret_or("SMS_WEBHOOK_SECRET", "");
    let api = reader.text("TWILIO_API_URL", "https://api.twilio.com");
    let account = reader.text("TWILIO_ACCOUNT_SID", "");
    let token = reader.secret_or("TWILIO_AUTH_TOKEN", "");
    let from = reader.text("TWILIO_FROM", "");
    match provider.as_str() {
        "none" => Some(Sms::None),
        "log" => {
            let rule = "may be log only while HTTP_HOST is a loopback address: it writes what guests are told into the log";
            reader.check(is_loopback(http_host), "SMS_PROVIDER", rule);
            Some(Sms::Log)
        }
        "webhook" => Webhook::try_new(&url, &secret)
            .map(Sms::Webhook)
            .map_err(|error| {
                let name = match error {
                    WebhookError::Url => "SMS_WEBHOOK_URL",
                    WebhookError::Secret => "SMS_WEBHOOK_SECRET",
                    WebhookError::Client(_) => "SMS_PROVIDER",
                };
                reader.wrong(name, error);
            })
            .ok(),
        "twilio" => {
            let callback = format!("{public_url}/api/v1/callbacks/twilio");
            Twilio::try_new(&api, &account, &token, &from, callback)
                .map(Sms::Twilio)
                .map_err(|error| {
                    let name = match error {
                        TwilioError::Url => "TWILIO_API_URL",
                        TwilioError::Account => "TWILIO_ACCOUNT_SID",
                        TwilioError::Token => "TWILIO_AUTH_TOKEN",
                        TwilioError::From => "TWILIO_FROM",
                        TwilioError::Client(_) => "SMS_PROVIDER",
                    };
                    reader.wrong(name, error);
                })
                .ok()
        }
        _ => {
            reader.wrong("SMS_PROVIDER", "must be none, log, webhook or twilio");
            None
        }
    }
}
