//! How much a request may carry.

use std::time::Duration;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::StreamExt;

use super::Problem;

/// Bodies are small: the largest is a year of working hours.
const MAX_BODY: usize = 128 * 1024;
/// So much of a body that is too large is still read, and thrown away: a client that is cut off while it
/// sends does not see the answer.
const MAX_READ: usize = 16 * 1024 * 1024;

/// The request with all of its body, which must be there in time.
pub(super) async fn whole(request: Request, timeout: Duration) -> Result<Request, Response> {
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(timeout, read(body)).await {
        Ok(body) => Ok(Request::from_parts(parts, Body::from(body?))),
        Err(_elapsed) => {
            let detail = "the body did not come in time";
            Err(closing(Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail)))
        }
    }
}

async fn read(body: Body) -> Result<Vec<u8>, Response> {
    let mut stream = body.into_data_stream();
    let mut kept: Vec<u8> = Vec::new();
    let mut read = 0;
    while let Some(chunk) = stream.next().await {
        let Ok(chunk) = chunk else {
            let detail = "the body could not be read";
            let problem = Problem::new(StatusCode::BAD_REQUEST, "unreadable_body", detail);
            return Err(problem.into_response());
        };
        read += chunk.len();
        if read <= MAX_BODY {
            kept.extend_from_slice(&chunk);
        } else if read > MAX_READ {
            break;
        }
    }
    if read > MAX_BODY {
        let detail = format!("the body may have at most {MAX_BODY} bytes");
        return Err(closing(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)));
    }
    Ok(kept)
}

/// What is left of the body is not read any more.
fn closing(problem: Problem) -> Response {
    let mut response = problem.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
