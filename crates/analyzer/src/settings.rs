//! The settings of a session that decide what a query means.

/// Session settings that change names, types or values.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionSettings {
    /// `spark.sql.session.timeZone`
    pub time_zone: String,
    /// `spark.sql.ansi.enabled`; only `true` is offered.
    pub ansi: bool,
    /// `spark.sql.caseSensitive`
    pub case_sensitive: bool,
    /// What `current_database()` gives.
    pub current_database: String,
    /// What `current_catalog()` gives.
    pub current_catalog: String,
    /// What `current_user()` gives.
    pub current_user: String,
}

impl Default for SessionSettings {
    fn default() -> Self {
        SessionSettings {
            time_zone: "UTC".to_owned(),
            ansi: true,
            case_sensitive: false,
            current_database: "default".to_owned(),
            current_catalog: "spark_catalog".to_owned(),
            current_user: "millstream".to_owned(),
        }
    }
}

impl SessionSettings {
    /// The defaults with another time zone.
    #[must_use]
    pub fn with_time_zone(mut self, time_zone: impl Into<String>) -> Self {
        self.time_zone = time_zone.into();
        self
    }
}
