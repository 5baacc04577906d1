//! What the client promises: one answer within its time, and no secrets.
