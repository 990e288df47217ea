"""A mail server that delivers nothing: it keeps every message and shows it on a web page.

The inbox of ./scripts/dev, and the tests' mail provider: it can be told to refuse, stall or hang up.

    mailsink.py --smtp-port 0 --http-port 0 --dir DIR     writes DIR/ports.json once both ports listen

GET    /                          the inbox, for people; /messages/<n> shows one message
GET    /api/messages?to=a@b.c     [{n, message_id, from, to, subject, received_at, text, html, calendar, unsubscribe,
                                   attachments}]
GET    /api/counts                {message_id: how many times it was accepted}
DELETE /api/messages              forgets all messages
POST   /api/faults                {"mode", "seconds", "count"}: what the next `count` mails meet (see MODES)
"""

import argparse
import asyncio
import base64
import email
import email.policy
import functools
import html
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from aiosmtpd.smtp import SMTP

MODES = {
    "none": "every mail is accepted",
    "421": "refused for now, at MAIL",
    "451": "refused for now, at RCPT",
    "550": "refused for good, at RCPT",
    "stall_connect": "`seconds` pass before the greeting",
    "stall_data": "the mail is received, `seconds` pass, then it is accepted (if the client is still there)",
    "drop_after_data": "the mail is accepted, but the connection ends without an answer",
}


def instant(nanoseconds):
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1_000_000:03d}Z"


class Store:
    """All messages, in memory and in an append-only file of JSON lines."""

    def __init__(self, folder):
        self.lock = threading.Lock()
        self.records = []
        self.path = os.path.join(folder, "messages.jsonl")
        self.file = open(self.path, "a+b")
        self.file.seek(0)
        whole = 0
        for line in self.file:
            try:
                self.records.append(json.loads(line))
            except ValueError:
                break  # the process ended in the middle of this line
            whole += len(line)
        self.file.truncate(whole)
        self.next = max((record["n"] for record in self.records), default=0) + 1

    def add(self, sender, recipients, raw):
        headers = email.message_from_bytes(raw.split(b"\r\n\r\n", 1)[0], policy=email.policy.compat32)
        record = {
            "message_id": str(headers.get("Message-ID", "")).strip().strip("<>"),
            "sender": sender,
            "to": recipients,
            "received_at": instant(time.time_ns()),
            "raw": base64.b64encode(raw).decode(),
        }
        with self.lock:
            record["n"] = self.next
            self.next += 1
            self.file.write(json.dumps(record).encode() + b"\n")
            self.file.flush()
            self.records.append(record)

    def all(self, to=None):
        with self.lock:
            records = list(self.records)
        if to is None:
            return records
        return [record for record in records if to.lower() in (address.lower() for address in record["to"])]

    def counts(self):
        counts = {}
        for record in self.all():
            counts[record["message_id"]] = counts.get(record["message_id"], 0) + 1
        return counts

    def clear(self):
        with self.lock:
            self.records.clear()
            self.file.truncate(0)


@functools.lru_cache(maxsize=5000)
def parts(raw):
    """Headers and bodies of a message, decoded."""
    message = email.message_from_bytes(base64.b64decode(raw), policy=email.policy.default)
    found = {"from": str(message.get("From", "")), "subject": str(message.get("Subject", ""))}
    for kind, name in (("plain", "text"), ("html", "html")):
        body = message.get_body(preferencelist=(kind,))
        try:
            found[name] = body.get_content() if body is not None else None
        except (LookupError, ValueError):  # an unknown charset
            found[name] = body.get_payload()
    invitations = [part for part in message.walk() if part.get_content_type() == "text/calendar"]
    # Bytes, decoded here: the library would mend line ends, which matter in this format.
    found["calendar"] = invitations[0].get_payload(decode=True).decode() if invitations else None
    unsubscribe = [message.get(name) for name in ("List-Unsubscribe", "List-Unsubscribe-Post")]
    found["unsubscribe"] = [str(value) for value in unsubscribe if value is not None]
    found["attachments"] = [part.get_filename() for part in message.iter_attachments()]
    return found


def view(record):
    shown = {key: record[key] for key in ("n", "message_id", "to", "received_at")}
    return shown | parts(record["raw"])


class Faults:
    """What the next mails meet."""

    def __init__(self):
        self.lock = threading.Lock()
        self.set("none", 0, 0)

    def set(self, mode, seconds, count):
        with self.lock:
            self.mode, self.seconds, self.count = mode, seconds, count

    def take(self, *modes):
        """The fault in force, if it is one of these; it is used up by that."""
        with self.lock:
            if self.mode not in modes:
                return None
            mode = self.mode
            if self.count is not None:
                self.count -= 1
                if self.count <= 0:
                    self.mode = "none"
            return mode


class Receiver:
    """The answers to SMTP commands."""

    def __init__(self, store, faults):
        self.store, self.faults = store, faults

    async def handle_MAIL(self, server, session, envelope, address, options):
        if self.faults.take("421"):
            return "421 4.3.2 the test says: not now"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        fault = self.faults.take("451", "550")
        if fault == "451":
            return "451 4.7.1 the test says: try again later"
        if fault == "550":
            return "550 5.1.1 the test says: no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        fault = self.faults.take("stall_data", "drop_after_data")
        if fault == "stall_data":
            await asyncio.sleep(self.faults.seconds)
        self.store.add(envelope.mail_from, envelope.rcpt_tos, envelope.original_content)
        if fault == "drop_after_data":
            server.transport.abort()
        return "250 OK"


class Connection(SMTP):
    async def _handle_client(self):
        if self.event_handler.faults.take("stall_connect"):
            await asyncio.sleep(self.event_handler.faults.seconds)
        await super()._handle_client()


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>%(title)s</title><style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
table { border-collapse: collapse; width: 100%% } td, th { text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #ddd }
iframe { width: 100%%; height: 40rem; border: 1px solid #ddd } pre { white-space: pre-wrap; background: #f6f6f6; padding: 1rem }
</style>%(body)s"""


def inbox_page(store):
    rows = []
    for record in reversed(store.all()[-500:]):
        mail = view(record)
        subject = html.escape(mail["subject"] or "(no subject)")
        rows.append(
            f"<tr><td>{html.escape(mail['received_at'][:19].replace('T', ' '))}<td>{html.escape(', '.join(mail['to']))}"
            f'<td><a href="/messages/{mail["n"]}">{subject}</a>'
        )
    table = "<table><tr><th>Received (UTC)<th>To<th>Subject" + "".join(rows) + "</table>"
    return PAGE % {"title": "Inbox", "body": "<h1>Inbox</h1>" + (table if rows else "<p>No mail yet. Reload to look again.")}


def message_page(record):
    mail = view(record)
    lines = [("From", mail["from"]), ("To", ", ".join(mail["to"])), ("Received", mail["received_at"])]
    lines.append(("Message-ID", mail["message_id"]))
    body = f'<p><a href="/">Inbox</a><h1>{html.escape(mail["subject"])}</h1><table>'
    body += "".join(f"<tr><th>{name}<td>{html.escape(value)}" for name, value in lines) + "</table>"
    if mail["attachments"]:
        body += f"<p>Attached: {html.escape(', '.join(str(name) for name in mail['attachments']))}"
    if mail["html"] is not None:
        body += f'<h2>HTML</h2><iframe sandbox title="The message as HTML" srcdoc="{html.escape(mail["html"])}"></iframe>'
    if mail["text"] is not None:
        body += f"<h2>Text</h2><pre>{html.escape(mail['text'])}</pre>"
    return PAGE % {"title": html.escape(mail["subject"]), "body": body}


class Web(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store = faults = None

    def answer(self, status, body, kind="application/json"):
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/":
            return self.answer(200, inbox_page(self.store), "text/html")
        if url.path == "/api/messages":
            to = parse_qs(url.query).get("to", [None])[0]
            return self.answer(200, [view(record) for record in self.store.all(to)])
        if url.path == "/api/counts":
            return self.answer(200, self.store.counts())
        if url.path.startswith("/messages/"):
            for record in self.store.all():
                if str(record["n"]) == url.path[len("/messages/") :]:
                    return self.answer(200, message_page(record), "text/html")
        self.answer(404, {"error": "there is no such page"})

    def do_DELETE(self):
        if self.path != "/api/messages":
            return self.answer(404, {"error": "there is no such page"})
        self.store.clear()
        self.answer(200, {})

    def do_POST(self):
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/api/faults":
            return self.answer(404, {"error": "there is no such page"})
        try:
            wish = json.loads(text)
            mode, seconds, count = str(wish["mode"]), float(wish.get("seconds", 0)), wish.get("count")
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            return self.answer(400, {"error": f"not a fault: {problem!r}"})
        if mode not in MODES or not (count is None or isinstance(count, int)):
            return self.answer(400, {"error": f"mode is one of {', '.join(MODES)}; count is a number, or left out (no end)"})
        self.faults.set(mode, seconds, count)
        self.answer(200, {"mode": mode, "seconds": seconds, "count": count})

    def log_message(self, *_):
        pass


class WebServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


async def run(options):
    os.makedirs(options.dir, exist_ok=True)
    Web.store, Web.faults = Store(options.dir), Faults()
    receiver = Receiver(Web.store, Web.faults)
    loop = asyncio.get_running_loop()
    # 32 MiB a message; the name is given, or every connection would ask the DNS for it.
    smtp = await loop.create_server(
        lambda: Connection(receiver, hostname="mailsink", ident="mail sink", enable_SMTPUTF8=True, loop=loop),
        options.host,
        options.smtp_port,
        backlog=1024,
    )
    web = WebServer((options.host, options.http_port), Web)
    threading.Thread(target=web.serve_forever, daemon=True).start()

    ports = {"smtp": smtp.sockets[0].getsockname()[1], "http": web.server_address[1]}
    path = os.path.join(options.dir, "ports.json")
    with open(path + ".new", "w") as file:
        json.dump(ports, file)
    os.replace(path + ".new", path)
    print(f"mail on port {ports['smtp']}, inbox on http://{options.host}:{ports['http']}/", file=sys.stderr, flush=True)

    ended = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, ended.set)
    await ended.wait()
    smtp.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smtp-port", type=int, required=True, help="0 chooses one")
    parser.add_argument("--http-port", type=int, required=True, help="0 chooses one")
    parser.add_argument("--dir", required=True, help="where messages and ports.json are kept")
    parser.add_argument("--host", default="127.0.0.1")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
