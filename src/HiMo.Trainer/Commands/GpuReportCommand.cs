// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;

namespace HiMo.Trainer;

/// <summary><c>gpu-report</c>: the results of the bundle's run.sh in one JSON and one Markdown file.</summary>
internal static class GpuReportCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        Argument<string> folder = new("folder") { Description = "What run.sh of the bundle wrote to.", HelpName = "DIR" };
        Command command = new("gpu-report", "Bring gpu.json and gpu.md of a run on a GPU machine up to date; run.sh of the bundle calls it.") { folder };
        command.Set((parse, _) =>
        {
            string given = parse.GetRequiredValue(folder);
            GpuReport report = GpuReport.Read(given);
            AtomicFile.WriteText(Path.Combine(given, "gpu.json"), report.ToJson().ToJsonString(JsonText.Readable) + "\n");
            AtomicFile.WriteText(Path.Combine(given, "gpu.md"), report.ToMarkdown());
            parse.InvocationConfiguration.Output.WriteLine($"{Path.Combine(given, "gpu.json")}, {Path.Combine(given, "gpu.md")}");
        });
        return command;
    }
}
