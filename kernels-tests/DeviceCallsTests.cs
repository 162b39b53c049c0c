// SPDX-License-Identifier: Apache-2.0
using System.Text.RegularExpressions;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>
/// Allocations, host copies and waits stand where the launch log counts them, or where no step passes: a call of ILGPU's own anywhere else would be one
/// that <see cref="LaunchLog"/> does not see, and that no test of its promise could find.
/// </summary>
internal sealed partial class DeviceCallsTests
{
    private static readonly Dictionary<string, string[]> s_known = new()
    {
        ["Devices/Gpu.Memory.cs"] = ["Allocate1D", "CopyToCPU", "Synchronize"],  // Gpu.Allocate and Gpu.Read, counted
        ["Devices/LaunchTimer.cs"] = ["Synchronize"],                            // of benchmarks
        ["Step/TrainingStep.Gpu.cs"] = ["Synchronize"],                          // once a workspace
    };

    [Test]
    public void Memory_copies_and_waits_are_asked_of_the_device_in_the_known_places_only()
    {
        string root = Path.Combine(TestData.RepositoryRoot, "src", "HiMo.Kernels");
        Dictionary<string, string[]> found = Directory.EnumerateFiles(root, "*.cs", SearchOption.AllDirectories)
            .Select(file => (Name: Path.GetRelativePath(root, file).Replace('\\', '/'), Calls: Calls(File.ReadLines(file))))
            .Where(file => file.Calls.Length > 0 && file.Name.Split('/')[0] is not ("obj" or "bin"))
            .ToDictionary(file => file.Name, file => file.Calls);
        Assert.That(found, Is.EquivalentTo(s_known));
    }

    private static string[] Calls(IEnumerable<string> lines) =>
        [.. lines.Where(line => !line.TrimStart().StartsWith("//", StringComparison.Ordinal)).SelectMany(line => Call().Matches(line)).Select(match => match.Groups[1].Value)];

    [GeneratedRegex(@"\.(Allocate[123]D\w*|AllocateRaw|Synchronize|CopyToCPU\w*|CopyFromCPU\w*|CopyToPageLocked\w*|CopyFromPageLocked\w*|GetAsArray[123]D|GetAsArray|GetRawData)\s*[<(]")]
    private static partial Regex Call();
}
