// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary><c>himo doctor</c>: what works on this machine, and what to do about what does not.</summary>
internal static class DoctorCommand
{
    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true };

    /// <summary>The command with its options.</summary>
    public static Command Create()
    {
        Option<bool> asJson = new("--json") { Description = "Print an array of findings: name, status (works, absent, problem), text, remedy." };
        Option<string?> checkpoint = new("--checkpoint") { Description = "Say instead what this file of weights is: kind, hash, shapes, architecture.", HelpName = "FILE" };
        Option<bool> gpu = new("--gpu") { Description = "Check instead what tests and measurements on a GPU need; a GPU that cannot run the kernels is a problem then." };
        Command command = new("doctor", "Say what works on this machine: .NET, libtorch, GPU, disk, memory, data; each problem with its remedy.") { asJson, checkpoint, gpu };
        command.SetAction(parse =>
        {
            if (parse.GetValue(checkpoint) is string file)
            {
                return CheckpointCommand.Inspect(file, parse.InvocationConfiguration.Output) ? 0 : 1;
            }

            List<Finding> findings = parse.GetValue(gpu) ? GpuChecks.Examine() : Examine(Checkout.Find() ?? Directory.GetCurrentDirectory()); // a published program stands alone
            TextWriter output = parse.InvocationConfiguration.Output;
            output.WriteLine(parse.GetValue(asJson) ? ToJson(findings).ToJsonString(s_indented) : ToText(findings));
            return findings.Any(finding => finding.Status == FindingStatus.Problem) ? 1 : 0;
        });
        return command;
    }

    /// <summary>All checks, in the order they are shown.</summary>
    /// <param name="root">The checkout.</param>
    internal static List<Finding> Examine(string root) =>
    [
        Try("system", MachineChecks.System),
        Try(".NET", MachineChecks.DotNet),
        Try("libtorch", TorchChecks.Libtorch),
        Try("GPU", MachineChecks.Gpu),
        Try("ILGPU", MachineChecks.IlgpuDevices),
        Try("memory", MachineChecks.Memory),
        Try("disk", () => MachineChecks.Disk(root)),
        Try("package cache", MachineChecks.PackageCache),
        Try("base models", () => DataChecks.BaseModels(Demonstration.ShippedBases)),
        Try("demo data", () => DataChecks.DemoData(root)),
        Try("CLIP vocabulary", DataChecks.Vocabulary),
        Try("test data", () => DataChecks.TestData(root)),
        Try("Chromium", DataChecks.Chromium),
    ];

    /// <summary>A check that dies, for example in a broken driver, is a finding like any other.</summary>
    internal static Finding Try(string name, Func<Finding> check)
    {
        try
        {
            return check();
        }
        catch (Exception failure)
        {
            return Finding.Problem(name, $"the check failed: {failure.GetType().Name}: {failure.Message}", "repair what the message names, then call himo doctor again");
        }
    }

    private static JsonArray ToJson(IEnumerable<Finding> findings) =>
    [
        .. findings.Select(finding => new JsonObject
        {
            ["name"] = finding.Name,
            ["status"] = finding.Status.ToString().ToLowerInvariant(),
            ["text"] = finding.Text,
            ["remedy"] = finding.Remedy,
        }),
    ];

    private static string ToText(List<Finding> findings)
    {
        int width = findings.Max(finding => finding.Name.Length) + 2;
        List<string> lines = [];
        foreach (Finding finding in findings)
        {
            string mark = finding.Status switch { FindingStatus.Works => "ok", FindingStatus.Absent => "-", _ => "!!" };
            lines.Add($"{mark,-4}{finding.Name.PadRight(width)}{finding.Text}");
            if (finding.Remedy is not null)
            {
                lines.Add($"{new string(' ', 4 + width)}-> {finding.Remedy}");
            }
        }

        int problems = findings.Count(finding => finding.Status == FindingStatus.Problem);
        lines.Add("");
        lines.Add(problems == 0 ? "No problems." : $"{problems} of {findings.Count} checks found a problem; follow the arrows.");
        return string.Join(Environment.NewLine, lines);
    }
}
