import ClusterMetadata
import KafkaMessages
import KafkaProtocol

/// The kinds of resource that have a configuration.
private enum ConfigResource {
    static let topic: Int8 = 2
    static let broker: Int8 = 4
}

/// DescribeConfigs: every key of a topic, or of the broker, with its source and synonyms.
struct DescribeConfigsHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 1...4
    let broker: BrokerServices

    func handle(
        _ request: DescribeConfigsRequest,
        _ context: RequestContext
    ) async -> DescribeConfigsResponse? {
        var response = DescribeConfigsResponse()
        for resource in request.resources {
            var result = DescribeConfigsResponse.DescribeConfigsResult()
            result.resourceType = resource.resourceType
            result.resourceName = resource.resourceName
            switch resource.resourceType {
            case ConfigResource.topic: describeTopic(resource, request, &result)
            case ConfigResource.broker: describeBroker(resource, request, &result)
            default:
                result.errorCode = ErrorCode.invalidRequest.rawValue
                result.errorMessage =
                    "resources of type \(resource.resourceType) have no configuration"
            }
            response.results.append(result)
        }
        return response
    }

    private func describeTopic(
        _ resource: DescribeConfigsRequest.DescribeConfigsResource,
        _ request: DescribeConfigsRequest,
        _ result: inout DescribeConfigsResponse.DescribeConfigsResult
    ) {
        guard let topic = broker.image.topic(resource.resourceName) else {
            result.errorCode = ErrorCode.unknownTopicOrPartition.rawValue
            return
        }
        let lookup = ConfigurationLookup(
            topic: topic.configs,
            dynamicBroker: broker.image.brokerConfigs,
            staticBroker: broker.settings.brokerConfigs
        )
        for key in TopicConfigurationKey.all
        where resource.configurationKeys?.contains(key.name) ?? true {
            result.configs.append(
                entry(
                    key.name,
                    lookup.layers(of: key),
                    key,
                    request,
                    isDefault: topic.configs[key.name] == nil
                )
            )
        }
    }

    private func describeBroker(
        _ resource: DescribeConfigsRequest.DescribeConfigsResource,
        _ request: DescribeConfigsRequest,
        _ result: inout DescribeConfigsResponse.DescribeConfigsResult
    ) {
        guard broker.isBroker(resource.resourceName) else {
            result.errorCode = ErrorCode.invalidRequest.rawValue
            result.errorMessage = "there is no broker \(resource.resourceName)"
            return
        }
        let lookup = ConfigurationLookup(
            topic: [:],
            dynamicBroker: broker.image.brokerConfigs,
            staticBroker: broker.settings.brokerConfigs
        )
        for key in TopicConfigurationKey.all {
            guard let name = key.brokerKey, resource.configurationKeys?.contains(name) ?? true
            else {
                continue
            }
            let layers = lookup.layers(of: key)
            result.configs.append(
                entry(name, layers, key, request, isDefault: layers[0].source == .builtIn)
            )
        }
    }

    private func entry(
        _ name: String,
        _ layers: [ConfigurationLookup.Layer],
        _ key: TopicConfigurationKey,
        _ request: DescribeConfigsRequest,
        isDefault: Bool
    ) -> DescribeConfigsResponse.DescribeConfigsResourceResult {
        var entry = DescribeConfigsResponse.DescribeConfigsResourceResult()
        entry.name = name
        entry.value = layers[0].value
        entry.configSource = layers[0].source.rawValue
        entry.configType = key.kind.wireType
        entry.readOnly = key.whyFixed != nil
        if request.includeDocumentation { entry.documentation = key.documentation }
        if request.includeSynonyms {
            entry.synonyms = layers.map { layer in
                var synonym = DescribeConfigsResponse.DescribeConfigsSynonym()
                synonym.name = layer.name
                synonym.value = layer.value
                synonym.source = layer.source.rawValue
                return synonym
            }
        }
        return entry
    }
}

extension TopicConfigurationKey.Kind {
    /// The type as DescribeConfigs numbers it (KIP-569).
    fileprivate var wireType: Int8 {
        switch self {
        case .boolean: 1
        case .choice: 2
        case .int: 3
        case .long: 5
        case .double: 6
        case .list: 7
        }
    }
}

/// IncrementalAlterConfigs: changes single keys (KIP-339).
struct IncrementalAlterConfigsHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 0...1
    let broker: BrokerServices

    func handle(
        _ request: IncrementalAlterConfigsRequest,
        _ context: RequestContext
    ) async -> IncrementalAlterConfigsResponse? {
        var response = IncrementalAlterConfigsResponse()
        for resource in request.resources {
            var result = IncrementalAlterConfigsResponse.AlterConfigsResourceResponse()
            result.resourceType = resource.resourceType
            result.resourceName = resource.resourceName
            do {
                try await alter(resource, validateOnly: request.validateOnly)
            } catch {
                result.errorCode = error.code.rawValue
                result.errorMessage = error.message
            }
            response.responses.append(result)
        }
        return response
    }

    private func alter(
        _ resource: IncrementalAlterConfigsRequest.AlterConfigsResource,
        validateOnly: Bool
    ) async throws(MetadataProblem) {
        var changes: [MetadataCommand.ConfigAlteration] = []
        for config in resource.configs {
            guard !changes.contains(where: { $0.key == config.name }) else {
                throw .init(.invalidRequest, "'\(config.name)' is named twice")
            }
            changes.append(.init(config.name, try Self.change(config)))
        }
        let name = resource.resourceName
        switch resource.resourceType {
        case ConfigResource.topic:
            try await broker.metadata.write(
                MetadataCommand(
                    .alterTopicConfigs(topic: name, changes, validateOnly: validateOnly)
                )
            ).requireDone()
        case ConfigResource.broker:
            guard broker.isBroker(name) else {
                throw .init(.invalidRequest, "there is no broker \(name)")
            }
            try await broker.metadata.write(
                MetadataCommand(.alterBrokerConfigs(changes, validateOnly: validateOnly))
            ).requireDone()
        default:
            throw .init(
                .invalidRequest,
                "resources of type \(resource.resourceType) have no configuration"
            )
        }
    }

    private static func change(
        _ config: IncrementalAlterConfigsRequest.AlterableConfig
    ) throws(MetadataProblem) -> MetadataController.ConfigChange {
        if config.configOperation == 1 { return .delete }
        guard let value = config.value else {
            throw .init(.invalidRequest, "'\(config.name)' has no value")
        }
        switch config.configOperation {
        case 0: return .set(value)
        case 2: return .append(value)
        case 3: return .subtract(value)
        default:
            throw .init(.invalidRequest, "unknown operation \(config.configOperation)")
        }
    }
}
