-- Drains are a JSON list; what they are is in store/drains.rs.
ALTER TABLE service_state ADD COLUMN drains TEXT NOT NULL DEFAULT '[]';
