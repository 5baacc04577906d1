//! Living things by their identity: what a reload must not replace while it is unchanged.
//!
//! A [`Registry`] is a value. A reload makes a new one from the old one and the new specification: what both name is
//! taken over (counts, health, sockets, TLS sessions), what is new is made (bound, read), what is gone is left behind.
//! If anything fails, the new one is dropped, and nothing has changed and nothing stays bound. An upstream that was
//! removed and is added again later is a new one.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

use super::tls::{self, Digest, ServerFiles};
use crate::config::spec::{self, Bind, Endpoint, Protocol, Spec};
use crate::model::names::{GroupName, ListenerName, ServiceName};
use crate::routing::admission::Admission;
use crate::routing::inherited::Inherited;
use crate::routing::live::{GroupLive, ListenerLive, UpstreamLive};
use crate::routing::sockets::Sockets;
use crate::routing::table::UpstreamTls;

/// Living things by their identity.
#[derive(Clone, Debug)]
pub(super) struct Registry {
    workers: usize,
    /// The next number for a listener or an upstream.
    next_id: u64,
    ports: HashMap<PortKey, Port>,
    ports_tls: HashMap<ListenerName, (Digest, Arc<ServerConfig>)>,
    groups: HashMap<(ServiceName, GroupName), Arc<GroupLive>>,
    upstreams: HashMap<UpstreamKey, Connected>,
    admissions: HashMap<ServiceName, Arc<Admission>>,
    clients_tls: HashMap<Option<Digest>, Arc<ClientConfig>>,
}

/// A listener's identity: its address, and with port 0, where the system chooses the port, its name.
type PortKey = (Bind, Option<ListenerName>);

/// An upstream's identity.
type UpstreamKey = (ServiceName, GroupName, Endpoint);

/// A bound port.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub(super) id: u64,
    /// None once the process is on its way down.
    pub(super) sockets: Option<Arc<Sockets>>,
    pub(super) live: Arc<ListenerLive>,
}

/// An upstream and how TLS is spoken to it.
#[derive(Clone, Debug)]
pub(super) struct Connected {
    pub(super) live: Arc<UpstreamLive>,
    pub(super) tls: Option<UpstreamTls>,
}

impl Registry {
    /// Without anything in it, for `workers` workers.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            workers,
            next_id: 1,
            ports: HashMap::new(),
            ports_tls: HashMap::new(),
            groups: HashMap::new(),
            upstreams: HashMap::new(),
            admissions: HashMap::new(),
            clients_tls: HashMap::new(),
        }
    }

    /// What lives when `spec` is put to work. Reads certificates and binds sockets, so it may block.
    ///
    /// # Errors
    /// All that is wrong, one line each.
    pub(super) fn renewed(&self, spec: &Spec) -> Result<Self, Vec<String>> {
        self.renewed_with(spec, &mut Inherited::default())
    }

    /// As [`Registry::renewed`], with sockets from another process where it has them.
    ///
    /// # Errors
    /// All that is wrong, one line each.
    pub(super) fn renewed_with(&self, spec: &Spec, inherited: &mut Inherited) -> Result<Self, Vec<String>> {
        let mut next = Self { next_id: self.next_id, ..Self::new(self.workers) };
        let mut errors = Vec::new();
        for listener in &spec.listeners {
            next.take_port(self, listener, inherited, &mut errors);
        }
        for service in &spec.services {
            next.take_admission(self, service);
            for group in &service.groups {
                next.take_group(self, service, group, &mut errors);
            }
        }
        if errors.is_empty() { Ok(next) } else { Err(errors) }
    }

    /// What is different in the certificates that ports show and trust, or upstreams are checked with, for people.
    pub(super) fn exchanged_certificates(&self, old: &Self) -> Vec<String> {
        let ports = self
            .ports_tls
            .iter()
            .filter(|(name, (digest, _))| old.ports_tls.get(*name).is_some_and(|(before, _)| before != digest));
        let mut changes: Vec<_> = ports.map(|(name, _)| format!("listeners.{name}: certificates changed")).collect();
        let upstreams = self.upstreams.iter().filter(|(key, connected)| {
            let before = old.upstreams.get(*key).and_then(|c| c.tls.as_ref());
            connected.tls.as_ref().zip(before).is_some_and(|(now, before)| !Arc::ptr_eq(&now.config, &before.config))
        });
        changes.extend(upstreams.map(|((service, group, endpoint), _)| {
            format!("services.{service}.groups.{group}: authorities for {} changed", endpoint.url)
        }));
        changes.sort();
        changes
    }

    /// The same with all listening sockets let go of.
    pub(super) fn without_ports(&self) -> Self {
        let mut registry = self.clone();
        registry.ports.values_mut().for_each(|port| port.sockets = None);
        registry
    }

    /// The port of a listener of the specification that this was made for.
    pub(super) fn port(&self, listener: &spec::Listener) -> &Port {
        self.ports.get(&port_key(listener)).expect("the registry was renewed with the specification of this listener")
    }

    /// The TLS of a listener, where it has one.
    pub(super) fn port_tls(&self, name: &ListenerName) -> Option<Arc<ServerConfig>> {
        self.ports_tls.get(name).map(|(_, config)| Arc::clone(config))
    }

    /// A group of the specification that this was made for.
    pub(super) fn group(&self, service: &ServiceName, group: &GroupName) -> &Arc<GroupLive> {
        let key = (service.clone(), group.clone());
        self.groups.get(&key).expect("the registry was renewed with the specification of this group")
    }

    /// An upstream of the specification that this was made for.
    pub(super) fn upstream(&self, service: &ServiceName, group: &GroupName, endpoint: &Endpoint) -> &Connected {
        let key = (service.clone(), group.clone(), endpoint.clone());
        self.upstreams.get(&key).expect("the registry was renewed with the specification of this upstream")
    }

    /// Who lets requests of a service in, where their number is limited.
    pub(super) fn admission(&self, service: &ServiceName) -> Option<&Arc<Admission>> {
        self.admissions.get(service)
    }

    fn id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    fn take_port(
        &mut self,
        old: &Self,
        listener: &spec::Listener,
        inherited: &mut Inherited,
        errors: &mut Vec<String>,
    ) {
        let key = port_key(listener);
        if let Some(port) = old.ports.get(&key) {
            self.ports.insert(key, port.clone());
        } else {
            match Sockets::adopt_or_bind(&listener.bind, listener.name.as_str(), self.workers, inherited) {
                Ok(sockets) => {
                    let (id, live) = (self.id(), Arc::new(ListenerLive::new(self.workers)));
                    self.ports.insert(key, Port { id, sockets: Some(Arc::new(sockets)), live });
                }
                Err(e) => errors.push(format!("listeners.{}: {e}{}", listener.name, old.holder(&listener.bind))),
            }
        }
        if let Some(tls) = &listener.tls {
            match self.port_config(old, tls) {
                Ok(config) => drop(self.ports_tls.insert(listener.name.clone(), config)),
                Err(all) => errors.extend(all.into_iter().map(|e| format!("listeners.{}: {e}", listener.name))),
            }
        }
    }

    /// Whether we ourselves hold the port through a wider or narrower address: then no other program is to blame.
    fn holder(&self, bind: &Bind) -> &'static str {
        let Bind::Tcp(wanted) = bind else { return "" };
        let held =
            |key: &PortKey| matches!(&key.0, Bind::Tcp(have) if have.port() == wanted.port() && wanted.port() != 0);
        if self.ports.keys().any(held) {
            " (this pointsman listens on this port at another address; that change needs a restart)"
        } else {
            ""
        }
    }

    fn port_config(&self, old: &Self, tls: &spec::Tls) -> Result<(Digest, Arc<ServerConfig>), Vec<String>> {
        let files = ServerFiles::read(tls)?;
        let digest = files.digest();
        // Listeners with the same certificates share a configuration, so that a session may be resumed at any.
        let known = self.ports_tls.values().chain(old.ports_tls.values()).find(|(d, _)| *d == digest);
        let config = known.map_or_else(|| files.config(&tls::HTTP), |(_, config)| Ok(Arc::clone(config)))?;
        Ok((digest, config))
    }

    fn take_group(&mut self, old: &Self, service: &spec::Service, group: &spec::Group, errors: &mut Vec<String>) {
        let key = (service.name.clone(), group.name.clone());
        let at_work = old.groups.get(&key);
        let live = at_work.map_or_else(|| Arc::new(GroupLive::new(self.workers)), Arc::clone);
        self.groups.insert(key, live);
        for upstream in &group.upstreams {
            let endpoint = &upstream.endpoint;
            let tls = self.client(old, endpoint).unwrap_or_else(|e| {
                errors.push(format!("services.{}.groups.{}: {}: {e}", service.name, group.name, endpoint.url));
                None
            });
            let key = (service.name.clone(), group.name.clone(), endpoint.clone());
            let live = match old.upstreams.get(&key) {
                Some(connected) => Arc::clone(&connected.live),
                None => Arc::new(UpstreamLive::new(self.id(), endpoint.clone(), self.workers)),
            };
            if at_work.is_some() && !old.upstreams.contains_key(&key) {
                live.joins_late();
            }
            self.upstreams.insert(key, Connected { live, tls });
        }
    }

    /// Requests under way keep their places while the limits stay what they are.
    fn take_admission(&mut self, old: &Self, service: &spec::Service) {
        let spec::Limits { in_flight: Some(places), queue, .. } = service.limits else { return };
        let kept = old.admissions.get(&service.name).filter(|a| a.is_of(places, queue));
        let admission = kept.map_or_else(|| Arc::new(Admission::new(places, queue)), Arc::clone);
        self.admissions.insert(service.name.clone(), admission);
    }

    fn client(&mut self, old: &Self, endpoint: &Endpoint) -> Result<Option<UpstreamTls>, String> {
        if endpoint.protocol != Protocol::Https {
            return Ok(None);
        }
        let ca = endpoint.ca.as_deref().map(|path| Ok::<_, String>((path, tls::contents(path)?))).transpose()?;
        let key = ca.as_ref().map(|(_, pem)| tls::digest(std::iter::once(pem.as_slice())));
        let config = match self.clients_tls.get(&key).or_else(|| old.clients_tls.get(&key)) {
            Some(config) => Arc::clone(config),
            None => tls::client_config(ca.as_ref().map(|(path, pem)| (*path, pem.as_slice())))?,
        };
        self.clients_tls.insert(key, Arc::clone(&config));
        Ok(Some(UpstreamTls { config, name: server_name(endpoint)? }))
    }
}

fn port_key(listener: &spec::Listener) -> PortKey {
    let chosen_by_system = matches!(&listener.bind, Bind::Tcp(address) if address.port() == 0);
    (listener.bind.clone(), chosen_by_system.then(|| listener.name.clone()))
}

/// The name that the upstream's certificate must carry.
fn server_name(endpoint: &Endpoint) -> Result<ServerName<'static>, String> {
    let name = match (&endpoint.server_name, &endpoint.address) {
        (Some(name), _) => name.clone(),
        (None, spec::Address::Tcp { host, .. }) => host.clone(),
        (None, spec::Address::Unix(_)) => "localhost".to_owned(),
    };
    ServerName::try_from(name.clone()).map_err(|_| format!("{name:?} is no name for a certificate; set `server_name`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::samples::{self, certificate};
    use crate::routing::live::Health;

    fn upstream(registry: &Registry, group: usize, spec: &Spec) -> Arc<UpstreamLive> {
        let service = &spec.services[0];
        let group = &service.groups[group];
        Arc::clone(&registry.upstream(&service.name, &group.name, &group.upstreams[0].endpoint).live)
    }

    #[test]
    fn what_is_unchanged_stays_and_what_comes_back_is_new() {
        let spec = samples::spec(&["http://127.0.0.1:1", "http://127.0.0.1:2"]);
        let first = Registry::new(2).renewed(&spec).unwrap();
        let blue = upstream(&first, 0, &spec);
        blue.set_health(Health::Healthy);
        let other = samples::spec(&["http://127.0.0.1:3", "http://127.0.0.1:2"]);
        let second = first.renewed(&other).unwrap();
        assert!(Arc::ptr_eq(&upstream(&first, 1, &spec), &upstream(&second, 1, &other)));
        let sockets = |registry: &Registry, of: &Spec| registry.port(&of.listeners[0]).sockets.clone().unwrap();
        assert!(Arc::ptr_eq(&sockets(&first, &spec), &sockets(&second, &other)));
        let third = second.renewed(&spec).unwrap();
        let again = upstream(&third, 0, &spec);
        assert_eq!(again.health(), Health::Unknown);
        let ids = [blue.id, again.id, upstream(&second, 0, &other).id, upstream(&first, 1, &spec).id];
        assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), 4, "{ids:?}");
    }

    #[test]
    fn requests_keep_their_places_over_a_reload_while_the_limits_are_unchanged() {
        let limited = |in_flight| {
            let mut spec = samples::spec(&["http://127.0.0.1:1"]);
            let service = Arc::make_mut(&mut spec.services[0]);
            service.limits = spec::Limits { in_flight, queue: 1, body: None };
            spec
        };
        let (two, three, none) = (limited(Some(2)), limited(Some(3)), limited(None));
        let of = |registry: &Registry| registry.admission(&two.services[0].name).cloned();
        let first = Registry::new(1).renewed(&two).unwrap();
        let second = first.renewed(&two).unwrap();
        assert!(Arc::ptr_eq(&of(&first).unwrap(), &of(&second).unwrap()));
        let third = second.renewed(&three).unwrap();
        assert!(!Arc::ptr_eq(&of(&second).unwrap(), &of(&third).unwrap()));
        assert!(of(&third.renewed(&none).unwrap()).is_none());
    }

    #[test]
    fn a_failure_names_everything_and_leaves_nothing_bound() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let free = samples::free_port();
        let mut spec = samples::spec(&["http://127.0.0.1:1", "http://127.0.0.1:2"]);
        spec.listeners[0].bind = Bind::Tcp(format!("127.0.0.1:{free}").parse().unwrap());
        spec.listeners.push(samples::listener("second", &taken.local_addr().unwrap().to_string()));
        let files = spec::CertificateFiles { cert: "/no/cert".into(), key: "/no/key".into() };
        spec.listeners[0].tls = Some(spec::Tls { certificates: vec![files], client_ca: None });
        let errors = Registry::new(1).renewed(&spec).unwrap_err();
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors.iter().any(|e| e.contains("listeners.second: cannot listen")), "{errors:?}");
        std::net::TcpListener::bind(("127.0.0.1", free)).unwrap();
    }

    #[test]
    fn a_port_that_we_hold_ourselves_at_another_address_is_not_blamed_on_another_program() {
        let port = samples::free_port();
        let mut spec = samples::spec(&["http://127.0.0.1:1"]);
        spec.listeners[0].bind = Bind::Tcp(format!("127.0.0.1:{port}").parse().unwrap());
        let first = Registry::new(1).renewed(&spec).unwrap();
        spec.listeners[0].bind = Bind::Tcp(format!("0.0.0.0:{port}").parse().unwrap());
        let errors = first.renewed(&spec).unwrap_err();
        assert!(errors.len() == 1 && errors[0].contains("needs a restart"), "{errors:?}");
    }

    #[test]
    fn certificates_are_exchanged_only_when_their_files_have_changed() {
        let folder = tempfile::tempdir().unwrap();
        let mut spec = samples::spec(&["http://127.0.0.1:1", "http://127.0.0.1:2"]);
        let files = certificate(folder.path(), "a.test");
        spec.listeners[0].tls = Some(spec::Tls { certificates: vec![files], client_ca: None });
        let name = spec.listeners[0].name.clone();
        let first = Registry::new(1).renewed(&spec).unwrap();
        let second = first.renewed(&spec).unwrap();
        assert!(Arc::ptr_eq(&first.port_tls(&name).unwrap(), &second.port_tls(&name).unwrap()));
        assert!(second.exchanged_certificates(&first).is_empty());
        certificate(folder.path(), "a.test");
        let third = second.renewed(&spec).unwrap();
        assert!(!Arc::ptr_eq(&second.port_tls(&name).unwrap(), &third.port_tls(&name).unwrap()));
        assert_eq!(third.exchanged_certificates(&second), ["listeners.web: certificates changed"]);
    }
}
