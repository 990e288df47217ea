-- By what guests want to be reminded, of what the business uses; null: by whatever it uses. What the customer's
-- events say, written with them.
ALTER TABLE customer ADD COLUMN reminder_channels text[];

-- Not all visits of a business: those of one customer, who wants other reminders.
ALTER TABLE replan ADD COLUMN customer_id uuid;
