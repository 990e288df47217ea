-- Each channel is handed out by itself, and when more is due than can be sent at once, every business in turn.

DROP INDEX notification_due;
CREATE INDEX notification_due ON notification (channel, next_at) WHERE state = 'pending';              -- dispatcher
CREATE INDEX notification_due_of ON notification (channel, business_id, next_at) WHERE state = 'pending'; -- in turn
