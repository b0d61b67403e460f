use super::disk::{is_xl, parse};
use crate::domain::domain_config;
use crate::load::{load_source, Options};
use noxen_xend_api::device::Disk;
use noxen_xend_api::DomainConfig;
use proptest::prelude::*;

fn text(text: &str) -> String {
    assert!(is_xl(text), "{text}");
    parse(text).unwrap().text()
}

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

fn config(source: &str) -> DomainConfig {
    let loaded = load_source(source, "./d", &[], &Options::default()).unwrap();
    domain_config(&loaded.settings).unwrap()
}

#[test]
fn forms_that_xl_calls_equal_are_one_disk() {
    for form in [
        "/dev/vg/guest-volume,,hda",
        "/dev/vg/guest-volume,raw,hda,rw",
        "vg/guest-volume,raw,hda,rw",
        "format=raw, vdev=hda, access=rw, target=/dev/vg/guest-volume",
        "raw:/dev/vg/guest-volume,,hda,w",
    ] {
        assert_eq!(text(form), "phy:/dev/vg/guest-volume,hda,w", "{form}");
    }
    for form in [
        "/srv/image.iso,,hdc,cdrom",
        "/srv/image.iso,,hdc,,cdrom",
        "/srv/image.iso,raw,hdc,devtype=cdrom",
        "format=raw, vdev=hdc, access=ro, devtype=cdrom, target=/srv/image.iso",
    ] {
        assert_eq!(text(form), "file:/srv/image.iso,hdc:cdrom,r", "{form}");
    }
}

#[test]
fn formats_and_flags_choose_the_kind() {
    assert_eq!(text("/a.qcow2,qcow2,xvda"), "tap:qcow2:/a.qcow2,xvda,w");
    assert_eq!(text("/a.vhd,vhd,xvda,ro"), "tap:vhd:/a.vhd,xvda,r");
    assert_eq!(text("/a.raw,,xvda,direct-io-safe"), "tap:aio:/a.raw,xvda,w");
    assert_eq!(
        text("vdev=xvda,script=block-iscsi,target=iqn=1,lun=2"),
        "iscsi:iqn=1,lun=2,xvda,w"
    );
    assert_eq!(text("vdev=hdc,cdrom"), ",hdc:cdrom,r");
    assert_eq!(
        text("/a,raw,xvda,rw,backend=driver"),
        "file:/a,xvda,w,driver"
    );
}

#[test]
fn forms_of_xm_stay_with_xm() {
    for form in [
        "phy:vg/a,xvda,w",
        "file:/a,xvda,w!",
        "tap:aio:/a,xvda1,r",
        ",hdc:cdrom,r",
        "iscsi:iqn,xvda,w",
        "phy:a,b,x",
    ] {
        assert!(!is_xl(form), "{form}");
    }
}

#[test]
fn what_is_wrong_is_named_with_what_would_do() {
    assert_eq!(error("/a,raw"), "Invalid disk '/a,raw': there is no vdev");
    assert_eq!(
        error("vdev=xvda"),
        "Invalid disk 'vdev=xvda': there is no target"
    );
    assert_eq!(
        error("/a,qed,xvda"),
        "Invalid disk '/a,qed,xvda': format is 'qed'; it is raw, qcow, qcow2 or vhd; in xm's form a disk begins with phy:, file: or tap:"
    );
    assert_eq!(
        error("/a,,xvda,maybe"),
        "Invalid disk '/a,,xvda,maybe': access is 'maybe'; it is rw or ro"
    );
    assert_eq!(
        error("/a,,xvda,vdev=xvdb"),
        "Invalid disk '/a,,xvda,vdev=xvdb': vdev is given twice"
    );
    assert_eq!(
        error("/a,,xvda,color=red"),
        "Invalid disk '/a,,xvda,color=red': unknown parameter 'color=red'"
    );
    assert_eq!(
        error("/a,,xvda,rw,more"),
        "Invalid disk '/a,,xvda,rw,more': unknown parameter 'more'"
    );
    assert!(error("/a,,xvda,no-discard").contains("discard"));
}

#[test]
fn config_of_xl_makes_a_domain() {
    let made = config(
        "name='x'\ntype='pv'\nkernel='/k'\nextra='root=/dev/xvda1'\nmemory=128\nvcpus=1\nmaxvcpus=4\ncap=50\n\
         vif=['']\ndisk=['/dev/vg/guest-volume,raw,xvda,rw']\nbootloader_args=['-q','--entry=2']\n",
    );
    assert_eq!(
        made.disk.iter().map(Disk::text).collect::<Vec<_>>(),
        ["phy:/dev/vg/guest-volume,xvda,w"]
    );
    assert_eq!(
        (made.vcpus, made.vcpu_avail, made.cpu_cap),
        (4, Some(1), Some(50))
    );
    assert_eq!(made.bootargs, "-q --entry=2");
}

#[test]
fn devices_that_are_not_built_are_refused_by_their_variable() {
    let load = |source: &str| {
        let loaded = load_source(source, "./d", &[], &Options::default()).unwrap();
        domain_config(&loaded.settings)
    };
    let error = load("name='x'\nkernel='/k'\np9=['tag=a,path=/b']\n").unwrap_err();
    assert!(
        error.to_string().contains("p9 is not supported yet"),
        "{error}"
    );
    assert!(load("name='x'\nkernel='/k'\np9=[]\ndriver_domain=0\n").is_ok());
    assert!(load("name='x'\nkernel='/k'\ndriver_domain=1\n").is_err());
}

proptest! {
    #[test]
    fn any_text_is_a_disk_or_an_error(text in "[a-z=,:/ .]{0,60}") {
        if is_xl(&text) {
            if let Ok(disk) = parse(&text) {
                prop_assert!(!disk.dev.is_empty());
            }
        }
    }
}
