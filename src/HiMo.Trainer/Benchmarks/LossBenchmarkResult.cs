// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>Times of the loss in all its forms, in milliseconds.</summary>
/// <param name="Rows">N.</param>
/// <param name="Columns">d.</param>
/// <param name="M">Components that the batch keeps.</param>
/// <param name="Threads">Threads of both sides.</param>
/// <param name="Seed">Of the features.</param>
/// <param name="Rounds">Timed runs of each form.</param>
/// <param name="Times">By form: fused, plain, plain_eigh, fused_stopped, plain_stopped, fused_forward.</param>
/// <param name="FmaGflops">The machine's rate in a loop of multiply-adds, all threads.</param>
/// <param name="MklGflops">The rate of libtorch's product of 1024 x 1024 matrices, all threads.</param>
internal sealed record LossBenchmarkResult(
    int Rows, int Columns, int M, int Threads, long Seed, int Rounds, IReadOnlyDictionary<string, List<double>> Times, double FmaGflops, double MklGflops)
{
    private static readonly (string Name, string Plain, string Fused)[] s_ratios =
        [("ratio", "plain", "fused"), ("ratio_eigh", "plain_eigh", "fused"), ("ratio_stopped", "plain_stopped", "fused_stopped")];

    /// <summary>Name of the processor as the system gives it.</summary>
    public static string Processor { get; } = ReadProcessor();

    /// <summary>The fields of the command's JSON.</summary>
    public JsonObject ToJson()
    {
        JsonObject json = new() { ["n"] = Rows, ["dim"] = Columns, ["m"] = M, ["threads"] = Threads, ["seed"] = Seed, ["rounds"] = Rounds };
        foreach ((string form, List<double> times) in Times)
        {
            json[$"{form}_ms"] = Math.Round(Median(times), 4);
            json[$"{form}_min_ms"] = Math.Round(times.Min(), 4);
        }

        foreach ((string name, string plain, string fused) in s_ratios)
        {
            json[name] = Math.Round(Median(Times[plain]) / Median(Times[fused]), 3);
            json[$"{name}_min"] = Math.Round(Times[plain].Min() / Times[fused].Min(), 3);
        }

        json["forward_share_min"] = Math.Round(Times["fused_forward"].Min() / Times["fused"].Min(), 3);
        json["cpu"] = Processor;
        json["fma_gflops"] = Math.Round(FmaGflops, 1);
        json["mkl_gflops"] = Math.Round(MklGflops, 1);
        return json;
    }

    /// <summary>A few lines for people.</summary>
    public string ToText() => string.Create(
        CultureInfo.InvariantCulture,
        $"""
        N = {Rows}, d = {Columns}, m = {M}, tau 0.9, smoothing 0.1, float32; {Threads} threads, seed {Seed}, {Rounds} rounds in turn
        {Processor}; multiply-adds {FmaGflops:f0} GFLOP/s, libtorch's sgemm 1024 {MklGflops:f0} GFLOP/s
        forward + backward, ms                     minimum    median
        {Line("fused", "fused")}
        {Line("plain, autograd through SVD", "plain")}   {Ratio("plain", "fused")}
        {Line("plain, autograd through eigh", "plain_eigh")}   {Ratio("plain_eigh", "fused")}
        {Line("fused, basis stopped", "fused_stopped")}
        {Line("plain, basis stopped, eigh", "plain_stopped")}   {Ratio("plain_stopped", "fused_stopped")}
        {Line("fused, forward only under no_grad", "fused_forward")}

        """);

    /// <summary>One row of a Markdown table of minima.</summary>
    public string ToMarkdownRow() => string.Create(
        CultureInfo.InvariantCulture,
        $"| {Rows}, {Columns} ({M}) | {Minimum("fused")} | {Minimum("plain")} | {Minimum("plain_eigh")} | {Quotient("plain", "fused")} | {Quotient("plain_eigh", "fused")} | {Minimum("fused_stopped")} | {Minimum("plain_stopped")} | {Quotient("plain_stopped", "fused_stopped")} | {100 * Times["fused_forward"].Min() / Times["fused"].Min():f0} % | {FmaGflops:f0} / {MklGflops:f0} |");

    /// <summary>The head that goes with <see cref="ToMarkdownRow"/>.</summary>
    public static string MarkdownHead =>
        """
        | N, d (m) | fused | plain, SVD | plain, eigh | SVD / fused | eigh / fused | fused, stopped | plain, stopped | ratio | forward share | GFLOP/s: multiply-adds / sgemm |
        |---|---|---|---|---|---|---|---|---|---|---|
        """;

    private static double Median(List<double> times)
    {
        double[] sorted = [.. times.Order()];
        int middle = sorted.Length / 2;
        return sorted.Length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
    }

    private static string ReadProcessor()
    {
        const string Key = "model name";
        string? line = File.Exists("/proc/cpuinfo") ? File.ReadLines("/proc/cpuinfo").FirstOrDefault(each => each.StartsWith(Key, StringComparison.Ordinal)) : null;
        return line is null
            ? Environment.GetEnvironmentVariable("PROCESSOR_IDENTIFIER") ?? "unknown"
            : line[(line.IndexOf(':', StringComparison.Ordinal) + 1)..].Trim();
    }

    private string Line(string text, string form) =>
        string.Create(CultureInfo.InvariantCulture, $"{text,-40} {Times[form].Min(),9:f2} {Median(Times[form]),9:f2}");

    private string Ratio(string plain, string fused) => string.Create(CultureInfo.InvariantCulture, $"{Quotient(plain, fused)} x the fused time (minima)");

    private string Minimum(string form) => Times[form].Min().ToString(Times[form].Min() < 10 ? "f2" : "f0", CultureInfo.InvariantCulture);

    private string Quotient(string plain, string fused) => (Times[plain].Min() / Times[fused].Min()).ToString("f2", CultureInfo.InvariantCulture);
}
