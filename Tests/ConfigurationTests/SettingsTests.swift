import Foundation
import Platform
import Testing

@testable import Configuration

@Suite struct `The table of settings` {
    @Test func `every stored property is a setting`() {
        let stored = Mirror(reflecting: ServerConfiguration()).children.count
        let ofClusters = Mirror(reflecting: ClusterSettings()).children.count
        #expect(stored - 2 == ServerSettings.all.count - ofClusters, "without origins and cluster")
        #expect(ofClusters == ServerSettings.clusterKeys.count)
    }

    @Test func `names are unique and none lies inside another`() {
        let names = ServerSettings.names
        #expect(Set(names).count == names.count)
        for name in names {
            // A TOML key cannot be both a value and a table.
            #expect(!names.contains { $0.hasPrefix(name + ".") }, "\(name)")
        }
        #expect(Set(ServerSettings.all.map(\.environmentName)).count == ServerSettings.all.count)
        #expect(Set(ServerSettings.all.map(\.option)).count == ServerSettings.all.count)
    }

    @Test func `every default may be set, and changes nothing`() {
        for setting in ServerSettings.all {
            guard let text = setting.defaultText else { continue }
            var configuration = ServerConfiguration()
            #expect(setting.set(&configuration, text), "\(setting.key) = \(text)")
            #expect(setting.text(configuration) == text)
            let plain = setting.plainText(configuration) ?? ""
            #expect(setting.set(&configuration, plain), "\(setting.key) = \(plain)")
            #expect(setting.text(configuration) == text)
        }
    }

    @Test func `no setting takes nonsense`() {
        let anyText = [
            "data.dir", "admin.token.file", "raft.tls.cert.file", "raft.tls.key.file",
            "raft.tls.ca.file",
        ]
        for setting in ServerSettings.all where !anyText.contains(setting.key) {
            var configuration = ServerConfiguration()
            #expect(!setting.set(&configuration, "?"), "\(setting.key)")
            #expect(!setting.set(&configuration, ""), "\(setting.key)")
            #expect(setting.text(configuration) == setting.defaultText)
        }
    }

    @Test func `the defaults are those promised`() {
        let configuration = ServerConfiguration()
        #expect("\(configuration.listenAddress)" == "127.0.0.1:9092")
        #expect(configuration.dataDirectory == "./data")
        #expect(configuration.walTotalBytes == 1 << 30)
        #expect(configuration.noFsync == false)
        #expect(configuration.retentionMilliseconds == 604_800_000)
        #expect(configuration.segmentMilliseconds == 604_800_000)
    }

    @Test func `the reference in docs is what the settings say`() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let page = try String(
            contentsOf: root.appending(path: "docs/configuration.md"),
            encoding: .utf8
        )
        #expect(
            page == HelpText.reference(),
            "run: chronik-server standalone --config-reference > docs/configuration.md"
        )
    }
}

@Suite struct Spellings {
    @Test(arguments: [
        ("lisen", "listen", 1), ("wla", "wal", 1), ("", "abc", 3), ("kitten", "sitting", 3),
        ("same", "same", 0),
    ])
    func `distance counts edits and swaps`(_ left: String, _ right: String, _ distance: Int) {
        #expect(Spelling.distance(left, right) == distance)
        #expect(Spelling.distance(right, left) == distance)
    }

    @Test func `nothing near is no suggestion`() {
        #expect(Spelling.suggestion(for: "zzzzzz", among: ["listen", "wal"]) == "")
    }
}
