//! pointsman: a reverse proxy that moves traffic between versions of a service and proves that nobody was hurt.
//!
//! # Where to start reading
//! [`proxy`]`::request` is the life of a request; [`control`]`::controller` is the life of a change. They meet in
//! [`routing`].
//!
//! # The lexicon
//! | word | means |
//! |---|---|
//! | Listener | a port that clients connect to |
//! | Route | which requests go to which service |
//! | Service | what users call; has two or more groups |
//! | Group | a version of a service: blue, green, canary |
//! | Upstream | one address of a group |
//! | Split, Share | how a service's traffic is divided; one group's part of it |
//! | Cohort | the clients whose ids fall into a group's range |
//! | Live | the group with the largest share (also: the living counters of a group or upstream) |
//! | Candidate | the group that may become live |
//! | Stable split | where a rollback goes |
//! | Switch, Shift, Rollback | everything to a group; one group's share; back to the stable split |
//! | Claim | a request's count at its group, from choice to last byte |
//! | Admission | lets so many requests of a service in at a time; who waits has no group yet |
//! | Hold | keeps new requests of a service waiting for a moment; who waits has no group yet |
//! | Resolver, Addresses | follows the names of upstreams; where a name led at its last good answer |
//! | Fields | a message's header fields, where they were received |
//! | Wire | a socket, or TLS over it |
//! | Inbound, Outbound | a client's connection; one to an upstream (HTTP/1.1) |
//! | Upload | a client's body on its way |
//! | Attempt, Outcome | one try at one upstream; how it ended |
//! | Tally | what users' attempts at a group came to: what verdicts are made of |
//! | Fuse | keeps users away from a group that is watched, once so many attempts in a row could not connect |
//! | Bell | workers ring it when an attempt at a watched group fails, and the control plane looks at once |
//! | Tunnel | a connection after its upgrade (WebSocket), or a stream of HTTP/2 (RFC 8441) |
//! | Side, Direction | one end of a tunnel; what one side says to the other |
//! | Drain, Part | letting go of a group, or of one of its upstreams; which of these it is |
//! | Hook | asks the application to finish work of its own before a drain is over |
//! | Entrance | who may come to a group or an upstream: everybody, validation traffic, nobody |
//! | Farewell, Notice | tunnels that are left at a drain's deadline are to end; what one of them was told |
//! | Berth | where a tunnel leads, by the newest table that has it |
//! | Stream | an answer without a foreseeable end: events, or one that takes long |
//! | Spec, Table, Snapshot | checked configuration; compiled for the data plane; the table as one request sees it |
//! | Departure | how the process lets go of its clients when it leaves |
//! | Upgrade, Handover | another process takes over; what it is given for that: sockets, then state |
//! | Heir, Successor | the process that takes over, as it sees itself; as the old one sees it |
//! | Inherited, Heirloom | listening sockets from another process, or from systemd; one of them |
//! | Rollout, Step, Phase | the way of services from one group to another; a share that is kept for a time; what it is busy with |
//! | Plan, Gate | how a rollout is to go; ahead of what somebody has to agree |
//! | Candidate, Baseline | the group that a rollout moves to; who else has users in the same minutes |
//! | Guard, Verdict, Judge | what a candidate is judged by; pass, fail or undecided; who says so, by tests that stay right however often one looks |
//! | Driver, Bench | does what a rollout waits for and watches the time; brings what was counted to its judges |
//! | Freeze | a time, by the calendar, in which no rollout starts or takes a step |
//! | Drill, Fault | guards tried out with requests of our own; what goes wrong in it on purpose |
//! | Stay | a share that a candidate had for a time, as a report tells it |
//! | Webhook | somebody who is told of events |
//! | Job | something outside that is to be done once at least |
//! | Lane | jobs that wait for each other |
//! | Validation, Finding | somebody tests a candidate before users come; what was found |
//! | Change, Event | a step of desired state; its line in the audit log |
//!
//! # The floors: imports only go down
//! | floor | modules |
//! |---|---|
//! | 5 | `app` (composition) |
//! | 4 | `cli`, `demo` |
//! | 3 | `admin` |
//! | 2 | `proxy`, `control`, which never import each other |
//! | 1 | `config`, `routing`, `store`, `telemetry` |
//! | 0 | `model` |

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod control;
pub mod demo;
pub mod model;
pub mod proxy;
pub mod routing;
pub mod store;
pub mod telemetry;
