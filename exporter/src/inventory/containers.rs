//! What container runtimes wrote about their containers: names, images, versions.
//!
//! Read from the runtimes' own files, without asking a daemon. They belong to root; where they cannot be
//! read, a container is known by the first 12 digits of its identifier, as people write it.
//!
//! | Runtime | File | What is read |
//! |---|---|---|
//! | Docker | `/var/lib/docker/containers/ID/config.v2.json` | `Name`, `Config.Image`, `Config.Labels` |
//! | containerd | `/run/containerd/io.containerd.runtime.v2.task/NAMESPACE/ID/config.json` | annotations `io.kubernetes.cri.*`, `nerdctl/name` |
//! | CRI-O | `/var/lib/containers/storage/overlay-containers/ID/userdata/config.json`, `/run/containers/...` | annotations `io.kubernetes.*` |
//! | Podman | `/var/lib/containers/storage/overlay-containers/containers.json`, `/run/containers/...` | the entry's `metadata`, which is JSON itself (containers/podman `libpod/storage.go`, `RuntimeContainerMetadata`) |
//!
//! Labels of Compose (`com.docker.compose.service`, `.project`) and of images
//! (`org.opencontainers.image.version`) go before what the runtime made up.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::names::workload;

/// Longer files are not read.
const MAX_BYTES: u64 = 4 << 20;
/// Digits of an identifier that people use.
const SHORT_ID: usize = 12;

/// What is known of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Namespace of Kubernetes, or project of Compose.
    pub namespace: Option<Arc<str>>,
    /// Workload, service, or name.
    pub name: Arc<str>,
    /// As its starter wrote it, such as `registry/shop/cart:1.2`.
    pub image: Option<Arc<str>>,
    /// The image's own label, else its tag.
    pub version: Option<Arc<str>>,
}

/// Finds out about the container with this identifier.
#[must_use]
pub fn find(id: &str) -> Container {
    find_below(Path::new("/"), id)
}

fn find_below(root: &Path, id: &str) -> Container {
    let read = |path: PathBuf| -> Option<Value> {
        let metadata = fs::metadata(&path).ok()?;
        (metadata.len() <= MAX_BYTES).then(|| serde_json::from_slice(&fs::read(path).ok()?).ok())?
    };
    let docker = || from_docker(&read(root.join(format!("var/lib/docker/containers/{id}/config.v2.json")))?);
    let bundles = || {
        let containerd = ["k8s.io", "default", "moby"]
            .map(|namespace| format!("run/containerd/io.containerd.runtime.v2.task/{namespace}/{id}/config.json"));
        let storage = ["var/lib", "run"]
            .map(|place| format!("{place}/containers/storage/overlay-containers/{id}/userdata/config.json"));
        containerd
            .into_iter()
            .chain(storage)
            .find_map(|path| from_annotations(read(root.join(path))?.get("annotations")?))
    };
    let podman = || {
        let lists =
            ["var/lib", "run"].map(|place| format!("{place}/containers/storage/overlay-containers/containers.json"));
        lists.into_iter().find_map(|path| from_storage(&read(root.join(path))?, id))
    };
    docker().or_else(bundles).or_else(podman).unwrap_or_else(|| Container {
        namespace: None,
        name: Arc::from(id.get(..SHORT_ID).unwrap_or(id)),
        image: None,
        version: None,
    })
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str().filter(|text| !text.is_empty())
}

fn from_docker(config: &Value) -> Option<Container> {
    let inner = config.get("Config")?;
    let nothing = Value::Null;
    let labels = inner.get("Labels").unwrap_or(&nothing);
    let pod = text(labels, "io.kubernetes.pod.name").map(workload);
    let name = pod
        .or_else(|| text(labels, "com.docker.compose.service"))
        .or_else(|| text(config, "Name").map(|name| name.trim_start_matches('/')))?;
    let namespace = text(labels, "io.kubernetes.pod.namespace").or_else(|| text(labels, "com.docker.compose.project"));
    Some(container(namespace, name, text(inner, "Image"), text(labels, "org.opencontainers.image.version")))
}

fn from_annotations(annotations: &Value) -> Option<Container> {
    let one_of = |keys: &[&str]| keys.iter().find_map(|key| text(annotations, key));
    let pod = one_of(&["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]).map(workload);
    let name = pod.or_else(|| one_of(&["com.docker.compose.service", "nerdctl/name", "io.podman.annotations.name"]))?;
    let namespace =
        one_of(&["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace", "com.docker.compose.project"]);
    let image = one_of(&["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName", "nerdctl/image"]);
    Some(container(namespace, name, image, one_of(&["org.opencontainers.image.version"])))
}

/// An entry of the list that Podman keeps of its containers.
fn from_storage(list: &Value, id: &str) -> Option<Container> {
    let own = list.as_array()?.iter().find(|one| text(one, "id") == Some(id))?;
    let metadata: Value = serde_json::from_str(text(own, "metadata")?).ok()?;
    Some(container(None, text(&metadata, "name")?, text(&metadata, "image-name"), None))
}

fn container(namespace: Option<&str>, name: &str, image: Option<&str>, version: Option<&str>) -> Container {
    Container {
        namespace: namespace.map(Arc::from),
        name: Arc::from(name),
        image: image.map(Arc::from),
        version: version.or_else(|| tag(image?)).map(Arc::from),
    }
}

/// What follows the last colon after the last slash; a digest is no version.
fn tag(image: &str) -> Option<&str> {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split_once(':').map(|(_, tag)| tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f2a9c1be04d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7";

    fn with(file: &str, content: &str) -> Container {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(file.replace("ID", ID));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        find_below(root.path(), ID)
    }

    fn of(found: &Container) -> [Option<&str>; 4] {
        [found.namespace.as_deref(), Some(&found.name), found.image.as_deref(), found.version.as_deref()]
    }

    #[test]
    fn containers_of_every_runtime_have_their_own_names() {
        let docker = "var/lib/docker/containers/ID/config.v2.json";
        let plain = r#"{"Name": "/web", "Config": {"Image": "registry:5000/shop/web:1.2", "Labels": {}}}"#;
        assert_eq!(of(&with(docker, plain)), [None, Some("web"), Some("registry:5000/shop/web:1.2"), Some("1.2")]);
        let compose = r#"{"Name": "/shop-cart-1", "Config": {"Image": "cart@sha256:ab", "Labels": {
            "com.docker.compose.service": "cart", "com.docker.compose.project": "shop",
            "org.opencontainers.image.version": "7"}}}"#;
        assert_eq!(of(&with(docker, compose)), [Some("shop"), Some("cart"), Some("cart@sha256:ab"), Some("7")]);
        let containerd = "run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json";
        let pod = r#"{"annotations": {"io.kubernetes.cri.sandbox-name": "cart-7d4b9c6f5d-x2x9z",
            "io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.cri.image-name": "docker.io/shop/cart:v3"}}"#;
        let expected = [Some("shop"), Some("cart"), Some("docker.io/shop/cart:v3"), Some("v3")];
        assert_eq!(of(&with(containerd, pod)), expected);
        let crio = "var/lib/containers/storage/overlay-containers/ID/userdata/config.json";
        let pod = r#"{"annotations": {"io.kubernetes.pod.name": "db-0", "io.kubernetes.pod.namespace": "shop",
            "io.kubernetes.cri-o.ImageName": "quay.io/db@sha256:12"}}"#;
        assert_eq!(of(&with(crio, pod)), [Some("shop"), Some("db"), Some("quay.io/db@sha256:12"), None]);
    }

    #[test]
    fn podmans_containers_have_the_names_and_images_of_its_list() {
        let list = "var/lib/containers/storage/overlay-containers/containers.json";
        let others = r#"{"id": "00", "names": ["db"], "metadata": "{\"name\": \"db\"}"}"#;
        let own = r#"{"id": "ID", "names": ["web"], "metadata":
            "{\"image-name\":\"docker.io/library/nginx:1.27\",\"image-id\":\"ab\",\"name\":\"web\"}"}"#;
        let found = with(list, &format!("[{others}, {}]", own.replace("ID", ID)));
        assert_eq!(of(&found), [None, Some("web"), Some("docker.io/library/nginx:1.27"), Some("1.27")]);
        assert_eq!(&*with(list, &format!("[{others}]")).name, "3f2a9c1be04d");
    }

    #[test]
    fn a_container_nobody_may_read_about_has_the_digits_that_people_use() {
        let file = "var/lib/docker/containers/ID/config.v2.json";
        for content in ["", "{}", "[1]", r#"{"Config": 3}"#] {
            assert_eq!(of(&with(file, content)), [None, Some("3f2a9c1be04d"), None, None], "{content}");
        }
    }
}
