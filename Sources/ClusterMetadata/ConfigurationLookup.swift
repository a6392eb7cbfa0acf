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
        visitLayers(of: key) { name, value, source in
            layers.append(Layer(name: name, value: value, source: source))
            return true
        }
        return layers
    }

    package var effective: EffectiveTopicConfiguration {
        EffectiveTopicConfiguration { key in
            var found = ""
            visitLayers(of: key) { _, value, _ in
                found = value
                return false
            }
            return found
        }
    }

    /// The layers that set the key, until `body` has seen enough.
    private func visitLayers(
        of key: TopicConfigurationKey,
        _ body: (_ name: String, _ value: String, ConfigurationSource) -> Bool
    ) {
        if let value = topic[key.name], !body(key.name, value, .topic) { return }
        if let brokerKey = key.brokerKey {
            if let value = dynamicBroker[brokerKey],
                !body(brokerKey, value, .dynamicDefaultBroker)
            {
                return
            }
            if let value = staticBroker[brokerKey], !body(brokerKey, value, .staticBroker) {
                return
            }
        }
        _ = body(key.brokerKey ?? key.name, key.defaultValue, .builtIn)
    }
}
