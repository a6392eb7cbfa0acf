SimProgram.run(Array(CommandLine.arguments.dropFirst()))
