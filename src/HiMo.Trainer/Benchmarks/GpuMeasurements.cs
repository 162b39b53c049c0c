// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>
/// Times that a GPU took, as perf/results/gpu keeps them: bench-COMMIT.json of <c>bench gpu --json</c>, profile.txt of <c>bench gpu --profile</c>, and changed.txt, a list by hand of
/// kernels that are others since then: how their names begin, a tab, why.
/// </summary>
internal sealed class GpuMeasurements
{
    private GpuMeasurements(List<CaseTime> cases, Dictionary<string, List<KernelTime>> profiles, Dictionary<string, string> changes) =>
        (Cases, Profiles, Changes) = (cases, profiles, changes);

    /// <summary>Whole runs.</summary>
    public IReadOnlyList<CaseTime> Cases { get; }

    /// <summary>Kernels of some of the cases, in the order of their first launch.</summary>
    public IReadOnlyDictionary<string, List<KernelTime>> Profiles { get; }

    /// <summary>Why kernels are others than those that were measured, by how their names begin.</summary>
    public IReadOnlyDictionary<string, string> Changes { get; }

    /// <summary>Whether a kernel is another one than when it was measured.</summary>
    public bool IsChanged(string kernel) => Changes.Keys.Any(name => kernel.StartsWith(name, StringComparison.Ordinal));

    /// <summary>Reads a folder.</summary>
    /// <exception cref="UserError">There are no such files, or one is damaged.</exception>
    public static GpuMeasurements Read(string folder)
    {
        string profile = Path.Combine(folder, "profile.txt");
        string[] benches = Directory.Exists(folder) ? Directory.GetFiles(folder, "bench-*.json") : [];
        return benches.Length > 0 && File.Exists(profile)
            ? new GpuMeasurements([.. benches.Order(StringComparer.Ordinal).SelectMany(ReadCases)], ReadProfiles(profile), ReadChanges(Path.Combine(folder, "changed.txt")))
            : throw new UserError($"--results is {folder}; it must be a folder with bench-COMMIT.json of 'bench gpu --json' and profile.txt of 'bench gpu --profile'");
    }

    private static List<CaseTime> ReadCases(string path)
    {
        try
        {
            return JsonText.Node(File.ReadAllText(path))?["cases"] is JsonArray cases
                ? [.. cases.Select(each => new CaseTime(GpuCase.Parse((string)each!["case"]!), (int)each["m"]!, (double?)each["graph_ms"] ?? (double)each["stream_ms"]!))]
                : throw new UserError($"{path} has no array 'cases'; it must be of 'bench gpu --json'");
        }
        catch (Exception failure) when (failure is JsonException or InvalidOperationException or ArgumentNullException or FormatException)
        {
            throw new UserError($"{path} is not of 'bench gpu --json': {failure.Message}", failure);
        }
    }

    private static Dictionary<string, string> ReadChanges(string path)
    {
        Dictionary<string, string> changes = [];
        foreach (string line in File.Exists(path) ? File.ReadLines(path) : [])
        {
            string[] parts = line.Split('\t');
            changes[parts[0]] = parts is [{ Length: > 0 }, { Length: > 0 } reason]
                ? reason
                : throw new UserError($"{path}: '{line}' must be how a kernel's name begins, a tab, and why it is another one since it was measured");
        }

        return changes;
    }

    // A line with the case, a heading, and for each kernel microseconds, launches and name.
    private static Dictionary<string, List<KernelTime>> ReadProfiles(string path)
    {
        Dictionary<string, List<KernelTime>> profiles = [];
        string current = "";
        foreach (string line in File.ReadLines(path).Where(line => line.Length > 0))
        {
            string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (!char.IsWhiteSpace(line[0]))
            {
                current = line.Trim();
                profiles[current] = [];
            }
            else if (words is [string time, string launches, string kernel] && profiles.Count > 0 && int.TryParse(launches, out int count)
                && double.TryParse(time, NumberStyles.Float, CultureInfo.InvariantCulture, out double microseconds))
            {
                profiles[current].Add(new KernelTime(kernel, count, 1e-6 * microseconds));
            }
            else if (words is not ["us", "launches", "kernel"])
            {
                throw new UserError($"{path}: '{line}' is not microseconds, launches and kernel below a case; it must be of 'bench gpu --profile'");
            }
        }

        return profiles;
    }
}

/// <summary>A whole run.</summary>
/// <param name="Case">What was run.</param>
/// <param name="Kept">m.</param>
/// <param name="Milliseconds">Of a replayed graph; of a run of seconds, launch by launch.</param>
internal sealed record CaseTime(GpuCase Case, int Kept, double Milliseconds);

/// <summary>All launches of a kernel in one run.</summary>
/// <param name="Kernel">Its name.</param>
/// <param name="Launches">How many.</param>
/// <param name="Seconds">By events around each.</param>
internal sealed record KernelTime(string Kernel, int Launches, double Seconds);
