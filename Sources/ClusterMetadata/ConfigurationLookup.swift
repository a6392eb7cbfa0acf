/// Where the value of a configuration key comes from, as DescribeConfigs names it.
package enum ConfigurationSource: Int8, Sendable {
    case topic = 1
    case dynamicBroker = 2
    case dynamicDefaultBroker = 3
    case staticBroker = 4
    case builtIn = 5
}

/// Lays a topic's overrides, the broker's settings and the defaults over one another.
package struct ConfigurationLookup {
    package struct Layer: Equatable {
        package let name: String
        package let value: String
        package let source: ConfigurationSource
    }

    private let topic: [String: String]
    private let dynamicBroker: [String: String]
    private let staticBroker: [String: String]

    package init(
        topic: [String: String],
        dynamicBroker: [String: String],
        staticBroker: [String: String]
    ) {
        self.topic = topic
        self.dynamicBroker = dynamicBroker
        self.staticBroker = staticBroker
    }

    /// Every layer that sets the key, the one that counts first; never empty.
    package func layers(of key: TopicConfigurationKey) -> [Layer] {
        var layers: [Layer] = []
        if let value = topic[key.name] {
            layers.append(Layer(name: key.name, value: value, source: .topic))
        }
        if let brokerKey = key.brokerKey {
            if let value = dynamicBroker[brokerKey] {
                layers.append(Layer(name: brokerKey, value: value, source: .dynamicDefaultBroker))
            }
            if let value = staticBroker[brokerKey] {
                layers.append(Layer(name: brokerKey, value: value, source: .staticBroker))
            }
        }
        layers.append(
            Layer(name: key.brokerKey ?? key.name, value: key.defaultValue, source: .builtIn)
        )
        return layers
    }

    package var effective: EffectiveTopicConfiguration {
        EffectiveTopicConfiguration { layers(of: $0)[0].value }
    }
}
