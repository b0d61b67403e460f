//! Saved state of a device: a JSON object with a `version`, read with bounds.

use serde::de::DeserializeOwned;
use serde::Serialize;
use serde_json::{json, Value};

/// Why a saved state was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Saved by a later version.
    #[error("{device}: saved as version {found}, this program reads up to {newest}; restore it with a newer one")]
    Newer {
        /// Device.
        device: String,
        /// Version found.
        found: u64,
        /// Newest that can be read.
        newest: u64,
    },
    /// Not what the device saves.
    #[error("{device}: saved state that cannot be: {why}")]
    Wrong {
        /// Device.
        device: String,
        /// What is wrong.
        why: String,
    },
}

impl StateError {
    /// What `device` was given is nothing that it saves.
    pub fn wrong(device: &str, why: impl Into<String>) -> StateError {
        StateError::Wrong {
            device: device.into(),
            why: why.into(),
        }
    }
}

/// The unit of `device`: `state` with its version.
pub fn wrap(version: u64, state: &impl Serialize) -> Value {
    // A device's state is made of numbers, strings and lists, which always serialise.
    let state = serde_json::to_value(state).unwrap_or(Value::Null);
    json!({ "version": version, "state": state })
}

/// The state inside a unit of version 1 to `newest`, with the version it has.
pub fn unwrap<T: DeserializeOwned>(
    device: &str,
    newest: u64,
    unit: &Value,
) -> Result<(u64, T), StateError> {
    let wrong = |why: &str| StateError::wrong(device, why);
    let version = unit.get("version").and_then(Value::as_u64);
    let version = version.ok_or_else(|| wrong("no version"))?;
    if version > newest {
        return Err(StateError::Newer {
            device: device.into(),
            found: version,
            newest,
        });
    }
    if version == 0 {
        return Err(wrong("version 0"));
    }
    let state = unit.get("state").ok_or_else(|| wrong("no state"))?;
    let state = T::deserialize(state).map_err(|error| wrong(&error.to_string()))?;
    Ok((version, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_comes_back_and_versions_are_bounded() {
        let unit = wrap(2, &vec![1u8, 2]);
        assert_eq!(unwrap::<Vec<u8>>("d", 2, &unit), Ok((2, vec![1, 2])));
        let newer = unwrap::<Vec<u8>>("d", 1, &unit).unwrap_err();
        assert!(newer.to_string().contains("version 2"), "{newer}");
        let wrong = unwrap::<Vec<u8>>("d", 2, &json!({ "version": 1, "state": [300] }));
        assert!(matches!(wrong, Err(StateError::Wrong { .. })));
        assert!(unwrap::<Vec<u8>>("d", 2, &json!({ "state": [] })).is_err());
        assert!(unwrap::<Vec<u8>>("d", 2, &json!({ "version": 0, "state": [] })).is_err());
    }
}
