//! Follows the configuration file that weir was started with.

use tracing::{info, warn};

use super::health_limit;
use super::logging::Logs;
use crate::config::changes::{ChangeEffect, changes};
use crate::config::watch::FileWatch;
use crate::config::{Flags, Resolved, Settings, resolve, to_configz};
use crate::error::{CommandError, chain};
use crate::telemetry::status::AgentStatus;

/// Where the settings come from.
pub(super) struct Configuration(Option<Followed>);

/// A configuration that may change.
struct Followed {
    flags: Flags,
    current: Resolved,
    logs: Logs,
    watch: FileWatch,
    /// Whether to read it again without a notification.
    is_asked: bool,
}

/// What other settings ask of the agent.
pub(super) enum SettingsChange {
    /// To go on with these.
    Settings(Box<Settings>),
    /// To end, and be started again.
    Restart,
}

impl Configuration {
    /// Settings that stay.
    pub(super) fn fixed() -> Self {
        Self(None)
    }

    /// Follows the file that the flags name, if any; also returns the settings in effect.
    pub(super) fn follow(flags: &Flags, logs: Logs) -> Result<(Self, Resolved), CommandError> {
        // Watched before it is read, so that no change falls in between.
        let watch = flags.config.as_deref().map(FileWatch::new);
        let current = resolve(flags).map_err(|error| CommandError(error.reasons()))?;
        let now = current.clone();
        let followed = match watch {
            Some(Ok(watch)) => {
                Some(Followed { flags: flags.clone(), current, logs, watch, is_asked: false })
            }
            Some(Err(error)) => {
                let error = chain(&error);
                warn!(error, "changes of the configuration file will not be seen");
                None
            }
            None => None,
        };
        Ok((Self(followed), now))
    }

    /// Reads the file again, where there is one.
    pub(super) fn read_again(&mut self) {
        if let Some(followed) = &mut self.0 {
            followed.is_asked = true;
        }
    }

    /// Waits for other settings, and applies what does not concern the agent. Nothing is lost if the
    /// wait is given up.
    pub(super) async fn next(&mut self, observed: &AgentStatus) -> SettingsChange {
        while let Some(followed) = &mut self.0 {
            if std::mem::take(&mut followed.is_asked) {
                if let Some(news) = followed.read(observed) {
                    return news;
                }
            } else if followed.watch.changed().await.is_none() {
                warn!("the configuration file cannot be watched any more");
                self.0 = None;
            } else if let Some(news) = followed.read(observed) {
                return news;
            }
        }
        std::future::pending().await
    }
}

impl Followed {
    fn read(&mut self, observed: &AgentStatus) -> Option<SettingsChange> {
        let new = match resolve(&self.flags) {
            Ok(new) => new,
            Err(error) => {
                for reason in error.reasons() {
                    warn!("{reason}; the configuration stays as it was");
                }
                observed.config_is_bad();
                return None;
            }
        };
        let old = std::mem::replace(&mut self.current, new);
        let new = &self.current;
        for note in new.notes.iter().filter(|note| !old.notes.contains(note)) {
            info!("{note}");
        }
        let changes = changes(&old.configuration, &new.configuration);
        for change in &changes {
            info!("configuration: {change}");
        }
        if changes.iter().any(|change| matches!(change.effect, ChangeEffect::Restart(_))) {
            return Some(SettingsChange::Restart);
        }
        match to_configz(&new.configuration) {
            Ok(configz) => observed.config_is_good(configz, health_limit(new.settings.periods)),
            Err(error) => warn!("{}", chain(&error)),
        }
        self.logs.set_level(new.settings.logging.level());
        let applies = changes.iter().any(|change| change.effect == ChangeEffect::Live);
        applies.then(|| SettingsChange::Settings(Box::new(new.settings.clone())))
    }
}
