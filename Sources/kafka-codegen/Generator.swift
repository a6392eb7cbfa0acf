import Foundation

/// Reads folders of message schemas and writes a Swift file for each message that is wanted.
@main
enum Generator {
    static func main() {
        let arguments = CommandLine.arguments.dropFirst()
        guard arguments.count >= 2, let output = arguments.last else {
            report("usage: kafka-codegen SCHEMA_DIR... OUTPUT_DIR")
            exit(2)
        }
        do {
            let files = try generate(from: arguments.dropLast().map { $0 })
            try write(files, to: URL(fileURLWithPath: output))
            print("wrote \(files.count) files to \(output)")
        } catch {
            report("kafka-codegen: \(error)")
            exit(1)
        }
    }

    private static func report(_ text: String) {
        FileHandle.standardError.write(Data((text + "\n").utf8))
    }

    private static func generate(from folders: [String]) throws -> [(name: String, text: String)] {
        var schemas: [String: Schema] = [:]
        for folder in folders {
            let urls = try FileManager.default.contentsOfDirectory(
                at: URL(fileURLWithPath: folder),
                includingPropertiesForKeys: nil
            )
            for url in urls where url.pathExtension == "json" {
                let schema = try Schema(file: url)
                schemas[schema.name] = schema
            }
        }
        let wanted = schemas.values.filter { $0.isWanted && !$0.valid.isEmpty }
        let requests = wanted.filter { $0.kind == .request }
        var files = [(name: "APIKey.swift", text: APIKeyWriter.swift(requests))]
        for schema in wanted {
            files.append((schema.name + ".swift", MessageWriter(schema).swift()))
            guard schema.kind == .request else { continue }
            let answer = schema.name.dropLast("Request".count) + "Response"
            guard let response = schemas[String(answer)] else {
                throw SchemaProblem("\(schema.name) has no response")
            }
            files.append((response.name + ".swift", MessageWriter(response).swift()))
        }
        return files.sorted { $0.name < $1.name }
    }

    /// Writes only what changed, and removes what no schema gives any more.
    private static func write(_ files: [(name: String, text: String)], to folder: URL) throws {
        let manager = FileManager.default
        try manager.createDirectory(at: folder, withIntermediateDirectories: true)
        let names = Set(files.map(\.name))
        for old in try manager.contentsOfDirectory(atPath: folder.path) where !names.contains(old) {
            try manager.removeItem(at: folder.appendingPathComponent(old))
        }
        for file in files {
            let url = folder.appendingPathComponent(file.name)
            if let old = try? String(contentsOf: url, encoding: .utf8), old == file.text {
                continue
            }
            try file.text.write(to: url, atomically: true, encoding: .utf8)
        }
    }
}
