//! The sections of the settings, each with the schema of its own type: a file that speaks of five sections is checked
//! against five schemas. Invariant (tested): what a section's schema asks for is what the whole schema asks for there.

use super::*;
use crate::secrets::SecretsConfig;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

type Row = (&'static str, fn(&mut SchemaGenerator) -> Schema);

macro_rules! rows {
    ($($name:ident: $kind:ty,)*) => {
        const SECTIONS: &[Row] = &[$((stringify!($name), SchemaGenerator::subschema_for::<$kind>)),*];
    };
}

rows! {
    data_dir: PathBuf,
    http: HttpConfig,
    admin: AdminConfig,
    server: ServerConfig,
    config: ConfigSection,
    secrets: SecretsConfig,
    store: StoreConfig,
    backup: BackupConfig,
    redis: RedisConfig,
    connections: ConnectionsConfig,
    outbound: OutboundConfig,
    gateway: GatewayConfig,
    providers: ProvidersConfig,
    models: ModelsConfig,
    routes: RoutesConfig,
    cache: CacheConfig,
    upstream: UpstreamConfig,
    embed: EmbedConfig,
    knowledge: KnowledgeConfig,
    pages: PagesConfig,
    ask: AskConfig,
    news: NewsConfig,
    schedule: ScheduleConfig,
    extract: ExtractConfig,
    inspect: InspectConfig,
    policies: BTreeMap<String, PolicyConfig>,
    auth: AuthConfig,
    limits: LimitsSection,
    budgets: BudgetsConfig,
    tiers: BTreeMap<String, TierConfig>,
    actions: BTreeMap<String, ActionConfig>,
    signal: SignalConfig,
    telegram: TelegramConfig,
    messages: MessagesConfig,
    metrics: MetricsConfig,
    log: LogConfig,
    audit: AuditConfig,
    anomaly: AnomalyConfig,
    alerts: AlertsConfig,
    telemetry: TelemetryConfig,
}

/// The schema of the settings with these sections and no other; none where one of them is not known.
pub(super) fn schema(names: &BTreeSet<String>) -> Option<Value> {
    let mut generator = SchemaGenerator::default();
    let mut properties = Map::new();
    for name in names {
        let (known, derive) = SECTIONS.iter().find(|(known, _)| known == name)?;
        properties.insert((*known).to_owned(), derive(&mut generator).to_value());
    }
    let definitions = Value::Object(generator.take_definitions(true));
    Some(
        json!({"type": "object", "properties": properties, "additionalProperties": false, "$defs": definitions}),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// References followed and everything taken out that only describes.
    fn bare(root: &Value, node: &Value, depth: usize) -> Value {
        assert!(depth < 32, "a schema refers to itself");
        match node {
            Value::Object(members) => {
                if let Some(target) = members.get("$ref").and_then(Value::as_str) {
                    let name = target.rsplit('/').next().unwrap();
                    return bare(root, &root["$defs"][name], depth + 1);
                }
                let tells = |name: &String| !["description", "default", "title"].contains(&name.as_str());
                let kept = members.iter().filter(|(name, _)| tells(name));
                Value::Object(
                    kept.map(|(name, value)| (name.clone(), bare(root, value, depth + 1))).collect(),
                )
            }
            Value::Array(items) => items.iter().map(|item| bare(root, item, depth + 1)).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => node.clone(),
        }
    }

    #[test]
    fn each_section_alone_asks_for_what_the_whole_schema_asks_for_there() {
        let whole = schemars::schema_for!(Settings).to_value();
        let names: Vec<&String> = whole["properties"].as_object().unwrap().keys().collect();
        assert_eq!(names, SECTIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        for name in names {
            let alone = schema(&BTreeSet::from([name.clone()])).expect(name);
            let (node, of_whole) = (&alone["properties"][name], &whole["properties"][name]);
            assert_eq!(bare(&alone, node, 0), bare(&whole, of_whole, 0), "{name}");
        }
    }

    #[test]
    fn a_section_nobody_knows_has_no_schema() {
        assert_eq!(schema(&BTreeSet::from(["htpp".to_owned(), "log".to_owned()])), None);
    }
}
