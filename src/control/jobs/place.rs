//! Where others reach this process: its admin port, and whoever tests a candidate its validation listener.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::spec::{Admin, Bind, SendsTo, Tls};
use crate::control::gather;
use crate::control::running::Running;

/// The admin port for programs on this machine; none: it is no TCP port, or nobody knows which.
pub(super) fn admin(admin: &Admin) -> Option<String> {
    match &admin.listen {
        Bind::Tcp(address) if address.port() != 0 => Some(url(*address, admin.tls.as_ref())),
        Bind::Tcp(_) | Bind::Unix(_) => None,
    }
}

/// The admin port for people elsewhere: by the first name that it answers to.
pub(super) fn admin_by_name(spec: &Admin) -> Option<String> {
    let (Some(host), Bind::Tcp(address)) = (spec.hosts.first(), &spec.listen) else { return admin(spec) };
    let scheme = if spec.tls.is_some() { "https" } else { "http" };
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    Some(if has_port { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{}", address.port()) })
}

/// The first validation listener; none: there is none.
pub(super) fn validation(running: &Running) -> Option<String> {
    let listener = running.spec.listeners.iter().find(|l| l.sends_to == SendsTo::Candidate)?;
    let shown = gather::listeners(running).into_iter().find(|l| l.name == listener.name)?;
    Some(url(shown.address.parse().ok()?, listener.tls.as_ref()))
}

/// As somebody on this machine reaches it.
fn url(address: SocketAddr, tls: Option<&Tls>) -> String {
    let ip: IpAddr = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{}", SocketAddr::new(ip, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::samples;

    #[test]
    fn an_address_that_is_all_of_them_is_reached_at_loopback() {
        let shown = |address: &str| url(address.parse().unwrap(), None);
        assert_eq!((shown("0.0.0.0:80"), shown("[::]:80")), ("http://127.0.0.1:80".into(), "http://[::1]:80".into()));
        assert_eq!(shown("10.0.0.1:8090"), "http://10.0.0.1:8090");
    }

    #[test]
    fn people_reach_the_admin_port_by_its_name() {
        let spec = |hosts: &[&str]| Admin {
            listen: Bind::Tcp("0.0.0.0:7070".parse().unwrap()),
            hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
            ..samples::spec(&["http://127.0.0.1:1"]).admin
        };
        let by_name = |hosts: &[&str]| admin_by_name(&spec(hosts)).unwrap();
        assert_eq!(by_name(&["ops.example.com"]), "http://ops.example.com:7070");
        assert_eq!(by_name(&["ops.example.com:80"]), "http://ops.example.com:80");
        assert_eq!(by_name(&[]), "http://127.0.0.1:7070");
    }
}
