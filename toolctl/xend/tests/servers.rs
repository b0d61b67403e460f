//! Programs other than toolctl at xend's sockets: Python's own xmlrpc.client, curl, a browser's headers.

mod support;

use noxen_xend_api::{Disk, Request};
use std::path::Path;
use std::process::{Command, Output};
use support::{certificate, eventually, free_port, toolctl, Lab};

/// What every Python program here begins with: a proxy over a unix socket.
const PROXY: &str = r#"
import http.client, socket, sys, xmlrpc.client

class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1])

class Transport(xmlrpc.client.Transport):
    def make_connection(self, host):
        return Connection("localhost")

proxy = xmlrpc.client.ServerProxy("http://localhost/RPC2", Transport(), allow_none=True)

def value(answer):
    """What a call of the Xen-API gave, or the words of its failure."""
    return answer["Value" if answer["Status"] == "Success" else "ErrorDescription"]
"#;

/// Output of a Python program that talks to `socket`; fails with its own words.
fn python(socket: &Path, program: &str) -> String {
    let out = Command::new("python3")
        .arg("-c")
        .arg(format!("{PROXY}\n{program}"))
        .arg(socket)
        .output()
        .unwrap();
    said(&out)
}

fn said(out: &Output) -> String {
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{error}");
    String::from_utf8(out.stdout.clone()).unwrap()
}

fn curl(socket: &Path, args: &[&str]) -> String {
    let out = Command::new("curl")
        .args(["-sS", "-i", "--max-time", "60", "--unix-socket"])
        .arg(socket)
        .args(args)
        .output()
        .unwrap();
    said(&out)
}

#[test]
fn python_creates_lists_renames_and_destroys_a_domain_over_xml_rpc() {
    let lab = Lab::new();
    let kernel = lab.config("x").kernel;
    let out = python(
        &lab.paths().xmlrpc_socket(),
        &format!(
            r#"
config = ["vm", ["name", "web1"], ["memory", 64], ["vcpus", 2], ["image", ["linux", ["kernel", "{kernel}"]]]]
made = dict(m[:2] for m in proxy.xend.domain.create(config)[1:] if len(m) == 2)
print(made["name"], made["domid"], made["state"])
print(sorted(proxy.xend.domains(0)))
proxy.xend.domain.unpause("web1")
proxy.xend.domain.setName("web1", "web2")
full = proxy.xend.domains_with_state(True, "all", 1)
print(sorted(m[1] for d in full for m in d if m[0] == "name"))
info = proxy.xend.domain.getVCPUInfo("web2")
print([m for m in info if m[0] == "vcpu_count"])
print(proxy.xend.node.info()[0])
try:
    proxy.xend.domain.pause("nobody")
except xmlrpc.client.Fault as fault:
    print(fault.faultCode, fault.faultString)
proxy.xend.domain.destroy("web2")
print(proxy.xend.domains(0))
"#
        ),
    );
    assert_eq!(
        out,
        "web1 1 --p---\n['Domain-0', 'web1']\n['Domain-0', 'web2']\n[['vcpu_count', 2]]\n['system', 'Linux']\n3 nobody\n\
         ['Domain-0']\n"
    );
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
}

#[test]
fn xen_api_starts_and_stops_a_managed_domain_as_fence_agents_do() {
    let lab = Lab::new();
    let config = Box::new(lab.config("web1"));
    lab.ask(&Request::New { config }).unwrap();
    let out = python(
        &lab.paths().xen_api_socket(),
        r#"
session = value(proxy.session.login_with_password("root", ""))
vm, = value(proxy.VM.get_by_name_label(session, "web1"))
state = lambda: value(proxy.VM.get_record(session, vm))["power_state"]
print(state())
value(proxy.VM.start(session, vm, False, True))
print(state(), value(proxy.VM.start(session, vm, False, True))[0])
value(proxy.VM.hard_shutdown(session, vm))
print(state(), value(proxy.VM.get_record(session, "x")))
print(len(value(proxy.host.get_all(session))), value(proxy.nothing.at_all(session))[0])
value(proxy.session.logout(session))
print(value(proxy.VM.get_all(session))[0])
"#,
    );
    assert_eq!(
        out,
        "Halted\nRunning VM_BAD_POWER_STATE\nHalted ['HANDLE_INVALID', 'VM', 'x']\n1 MESSAGE_METHOD_UNKNOWN\n\
         SESSION_INVALID\n"
    );
}

#[test]
fn xen_api_creates_a_vm_with_a_disk_and_suspends_it() {
    let lab = Lab::new();
    lab.script("block", "say hotplug-status connected");
    let image = lab.image("disk.img", "data");
    let kernel = lab.config("x").kernel;
    let out = python(
        &lab.paths().xen_api_socket(),
        &format!(
            r#"
session = value(proxy.session.login_with_password("root", ""))
MIB = 1 << 20
vm = value(proxy.VM.create(session, {{"name_label": "web1", "memory_static_max": str(64 * MIB), "PV_kernel": "{kernel}",
    "VCPUs_max": "2", "VCPUs_params": {{"cpumap0": "0"}}, "power_state": "Halted"}}))
vdi = value(proxy.VDI.create(session, {{"other_config": {{"location": "file:{image}"}}}}))
vbd = value(proxy.VBD.create(session, {{"VM": vm, "VDI": vdi, "device": "xvda", "mode": "RW", "type": "Disk"}}))
print(value(proxy.VBD.get_record(session, vbd))["image"] == "file:{image}", value(proxy.VM.get_VBDs(session, vm)) == [vbd])
value(proxy.VM.set_PV_args(session, vm, "quiet"))
state = lambda: value(proxy.VM.get_power_state(session, vm))
value(proxy.VM.start(session, vm, False, False))
metrics = value(proxy.VM_metrics.get_record(session, vm))
print(state(), sorted(metrics["VCPUs_CPU"]), metrics["VCPUs_params"]["cpumap0"])
value(proxy.VM.add_to_VCPUs_params_live(session, vm, "cpumap1", "0"))
print(value(proxy.VM.set_PV_args(session, vm, "late"))[0], value(proxy.VM.migrate(session, vm, "127.0.0.1", True, {{}}))[0])
value(proxy.VM.suspend(session, vm))
print(state(), value(proxy.VM.get_PV_args(session, vm)), value(proxy.VM.get_VCPUs_params(session, vm))["cpumap1"])
value(proxy.VM.resume(session, vm, False, False))
print(state())
value(proxy.VM.hard_shutdown(session, vm))
value(proxy.VM.destroy(session, vm))
print(len(value(proxy.VM.get_all(session))))
"#
        ),
    );
    assert_eq!(
        out,
        "True True\nRunning ['0', '1'] 0\nVM_BAD_POWER_STATE INTERNAL_ERROR\nSuspended quiet 0\nRunning\n1\n"
    );
}

#[test]
fn xen_api_tells_of_devices_tasks_and_events() {
    let lab = Lab::new();
    lab.script("block", "say hotplug-status connected");
    let image = lab.image("disk.img", "data");
    let mut config = lab.config("web1");
    config.disk = vec![Disk::parse(&format!("file:{image},xvda,w")).unwrap()];
    lab.run(config);
    let out = python(
        &lab.paths().xen_api_socket(),
        r#"
import threading
session = value(proxy.session.login_with_password("root", ""))
vm, = value(proxy.VM.get_by_name_label(session, "web1"))
vbd, = value(proxy.VM.get_VBDs(session, vm))
record = value(proxy.VBD.get_record(session, vbd))
print(record["device"], record["mode"], value(proxy.VDI.get_virtual_size(session, record["VDI"])))
console, = value(proxy.VM.get_consoles(session, vm))
print(value(proxy.console.get_protocol(session, console)), value(proxy.console.get_VM(session, console)) == vm)
print(len(value(proxy.host_cpu.get_all(session))) > 0)
carried = value(proxy.VBD_metrics.get_record(session, value(proxy.VBD.get_metrics(session, vbd))))
print(carried["io_total_read_kbs"], carried["io_read_kbs"] > 0, value(proxy.VBD_metrics.get_io_write_kbs(session, vbd)) > 0)
pool, = value(proxy.cpu_pool.get_all(session))
print(value(proxy.cpu_pool.get_name_label(session, pool)), vm in value(proxy.cpu_pool.get_started_VMs(session, pool)))
pc = value(proxy.VM.create(session, {"name_label": "pc", "HVM_boot_policy": "BIOS order", "HVM_boot_params": {"order": "d"},
    "platform": {"stdvga": True}, "memory_static_max": str(64 << 20)}))
print(value(proxy.VM.get_HVM_boot_params(session, pc)), value(proxy.VM.get_platform(session, pc))["stdvga"])
value(proxy.VM.add_to_platform(session, pc, "localtime", "1"))
value(proxy.VM.remove_from_HVM_boot_params(session, pc, "order"))
print(value(proxy.VM.get_HVM_boot_params(session, pc)), value(proxy.VM.get_platform(session, pc))["localtime"])
value(proxy.VM.destroy(session, pc))

value(proxy.event.register(session, ["vm"]))
told = []
def listen():
    own = xmlrpc.client.ServerProxy("http://localhost/RPC2", Transport(), allow_none=True)
    told.extend(value(own.event.next(session)))
listener = threading.Thread(target=listen)
listener.start()
task = value(getattr(proxy, "Async.VM.pause")(session, vm))
listener.join(60)
print([(e["class"], e["operation"], e["ref"] == vm) for e in told])
print(value(proxy.task.get_status(session, task)), value(proxy.VM.get_power_state(session, vm)))
print(value(proxy.VBD.destroy(session, "x")))
value(proxy.VM.hard_shutdown(session, vm))
print([e["operation"] for e in value(proxy.event.next(session))])
"#,
    );
    assert_eq!(
        out,
        "xvda RW 4\nvt100 True\nTrue\n3 True True\nPool-0 True\n{'order': 'd'} 1\n{'order': 'c'} 1\n[('VM', 'mod', True)]\nsuccess Paused\n['HANDLE_INVALID', 'VBD', 'x']\n['del']\n"
    );
}

#[test]
fn curl_reads_expressions_and_browsers_pages_where_the_settings_want_them() {
    let lab = Lab::new();
    lab.stop();
    lab.settings("(xend-unix-server yes)");
    lab.start();
    lab.create(lab.config("web1")).unwrap();
    let socket = lab.root().join("var/lib/xend/xend-socket");
    let sxp = ["-H", "Accept: application/sxp"];
    let get = |path: &str| {
        curl(
            &socket,
            &[sxp[0], sxp[1], &format!("http://localhost{path}")],
        )
    };
    assert!(
        get("/xend/domain").ends_with("\r\n\r\n(Domain-0 web1)\n"),
        "{}",
        get("/xend/domain")
    );
    assert!(get("/xend/domain/web1").contains("(name web1)"));
    assert!(get("/xend/domain/nobody").starts_with("HTTP/1.1 404 "));
    let page = curl(&socket, &["http://localhost/xend/domain"]);
    assert!(
        page.contains("<a href=\"/xend/domain/web1\">web1</a>"),
        "{page}"
    );
    let done = curl(
        &socket,
        &["-d", "op=unpause", "http://localhost/xend/domain/web1"],
    );
    assert!(done.starts_with("HTTP/1.1 200 "), "{done}");
    eventually("the domain runs", || {
        (lab.letters("web1") != "--p---").then_some(())
    });
    lab.stop();
    assert!(!socket.exists());
    assert!(!lab.paths().xmlrpc_socket().exists());
}

#[test]
fn tls_serves_both_interfaces_where_a_key_is_named_and_nothing_in_the_clear() {
    let lab = Lab::new();
    lab.stop();
    let (key, cert) = certificate(lab.root());
    let (legacy, api, web) = (free_port(), free_port(), free_port());
    let (key, cert) = (key.display(), cert.display());
    lab.settings(&format!(
        "(xend-tcp-xmlrpc-server yes)(xend-tcp-xmlrpc-server-address 127.0.0.1)(xend-tcp-xmlrpc-server-port {legacy})\n\
         (xend-tcp-xmlrpc-server-ssl-key-file {key})(xend-tcp-xmlrpc-server-ssl-cert-file {cert})\n\
         (xend-http-server yes)(xend-address 127.0.0.1)(xend-port {web})\n\
         (xend-http-server-ssl-key-file {key})(xend-http-server-ssl-cert-file {cert})\n\
         (xen-api-server ((127.0.0.1:{api} token '^localhost$' {key} {cert})))\n"
    ));
    lab.start();
    let made = lab.xend(&["token", "add", "admin"]);
    assert!(made.status.success(), "{made:?}");
    let token = said(&made);
    // It is made once the server serves, which is after xend takes requests.
    let web_token = eventually("the web page's token", || {
        std::fs::read_to_string(lab.paths().web_token()).ok()
    });
    let program = format!(
        r#"
import ssl, urllib.request, xmlrpc.client
trusted = ssl.create_default_context(cafile="{cert}")
def proxy(address):
    context = trusted if address.startswith("https") else None
    return xmlrpc.client.ServerProxy(address + "/RPC2", context=context)
print(proxy("https://localhost:{legacy}").xend.domains(0))
login = lambda word: proxy("https://localhost:{api}").session.login_with_password("admin", word)
print(login("{token}")["Status"], login("")["ErrorDescription"])
page = urllib.request.Request("https://localhost:{web}/web/login", data=b"token={web_token}")
print("; Secure" in urllib.request.urlopen(page, context=trusted).headers["Set-Cookie"])
try:
    proxy("http://localhost:{api}").session.login_with_password("admin", "{token}")
except Exception:
    print("refused")
"#,
        token = token.trim(),
        web_token = web_token.trim(),
    );
    let out = Command::new("python3")
        .args(["-c", &program])
        .output()
        .unwrap();
    let wanted = "['Domain-0']\nSuccess ['SESSION_AUTHENTICATION_FAILED']\nTrue\nrefused\n";
    assert_eq!(said(&out), wanted);
    lab.stop();
    lab.settings(&format!(
        "(xen-api-server ((127.0.0.1:{api} none '^localhost$' {cert} {cert})))"
    ));
    let refused = lab.xend(&["start"]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && words.contains("cert.pem"),
        "{words}"
    );
    lab.settings("");
}

#[test]
fn users_of_the_host_log_in_by_pam() {
    let lab = Lab::new();
    lab.stop();
    // Modules of Debian's: programs of our own say who is who, and who may come now.
    let services = lab.root().join("etc/pam.d");
    std::fs::create_dir_all(&services).unwrap();
    let knows = lab.program(
        "knows",
        "#!/bin/sh\ncase \"$PAM_USER $(tr -d '\\0')\" in 'amy secret'|'bob other') exit 0;; esac\nexit 1\n",
    );
    let may = lab.program("may", "#!/bin/sh\n[ \"$PAM_USER\" = amy ]\n");
    let text = format!(
        "auth required pam_exec.so quiet expose_authtok {}\naccount required pam_exec.so quiet {}\n",
        knows.join("knows").display(),
        may.join("may").display()
    );
    std::fs::write(services.join("xend"), text).unwrap();
    let port = free_port();
    lab.settings(&format!(
        "(xen-api-server ((127.0.0.1:{port} pam '^localhost$')))"
    ));
    lab.start();
    let program = format!(
        r#"
import xmlrpc.client
proxy = xmlrpc.client.ServerProxy("http://localhost:{port}/RPC2", allow_none=True)
login = proxy.session.login_with_password
session = login("amy", "secret")
print(session["Status"], proxy.session.get_this_user(session["Value"], session["Value"])["Value"])
for user, password in [("amy", "other"), ("amy", ""), ("bob", "other"), ("nobody", "secret"), ("amy", "secret" * 20)]:
    print(login(user, password)["ErrorDescription"])
print(proxy.VM.get_all("no session")["ErrorDescription"][0])
"#
    );
    let ran = Command::new("python3").args(["-c", &program]).output();
    let refused = "['SESSION_AUTHENTICATION_FAILED']\n".repeat(5);
    assert_eq!(
        said(&ran.unwrap()),
        format!("Success amy\n{refused}SESSION_INVALID\n")
    );
    let log = lab.log();
    assert!(
        log.contains("a login of 'amy' was refused") && log.contains("PAM: "),
        "{log}"
    );
    assert!(
        log.contains("passwords come over the network in the clear"),
        "{log}"
    );
    assert!(!log.contains("secret"), "{log}");
}

#[test]
fn serve_joins_its_streams_to_the_servers() {
    let lab = Lab::new();
    let body = "<?xml version='1.0'?><methodCall><methodName>xend.domains</methodName><params><param><value><int>0</int></value></param></params></methodCall>";
    let request = format!(
        "POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let file = lab.image("request", &request);
    let mut xm = lab.command(toolctl());
    xm.arg("serve").stdin(std::fs::File::open(file).unwrap());
    let answer = said(&xm.output().unwrap());
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("<string>Domain-0</string>"), "{answer}");
}

#[test]
fn addresses_that_are_not_allowed_are_refused() {
    let lab = Lab::new();
    lab.stop();
    let port = free_port();
    lab.settings(&format!(
        "(xen-api-server ((127.0.0.1:{port} none '^192\\.0\\.2\\.')))"
    ));
    lab.start();
    let out = Command::new("curl")
        .args(["-sS", "-i", "--max-time", "60", "--noproxy", "*"])
        .arg(format!("http://127.0.0.1:{port}/RPC2"))
        .output()
        .unwrap();
    let text = said(&out);
    assert!(text.starts_with("HTTP/1.1 403 "), "{text}");
}
