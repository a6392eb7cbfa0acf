import Bytes
import KafkaMessages
import KafkaProtocol

/// ApiVersions: what this broker speaks, which is exactly what works (KIP-35, KIP-511).
struct ApiVersionsHandler: RequestHandler {
    static let versions: ClosedRange<Int16> = 0...4

    func handle(
        _ request: ApiVersionsRequest,
        _ context: RequestContext
    ) async -> ApiVersionsResponse? {
        Self.answer(.none)
    }

    private static func answer(_ code: ErrorCode) -> ApiVersionsResponse {
        var response = ApiVersionsResponse()
        response.errorCode = code.rawValue
        response.apiKeys = SupportedAPIs.versions.map { api, versions in
            var entry = ApiVersionsResponse.ApiVersion()
            entry.apiKey = api.rawValue
            entry.minVersion = versions.lowerBound
            entry.maxVersion = versions.upperBound
            return entry
        }
        return response
    }

    /// In version 0, which every client can read.
    static func unsupportedVersion(correlationID: Int32) -> RequestOutcome {
        ResponseFrame.encode(
            answer(.unsupportedVersion),
            version: 0,
            headerVersion: 0,
            correlationID: correlationID
        )
    }
}
