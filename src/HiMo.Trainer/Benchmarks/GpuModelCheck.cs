// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text;

namespace HiMo.Trainer;

/// <summary>The cost model beside measured times.</summary>
/// <param name="Cases">Whole runs.</param>
/// <param name="Kernels">Kernels of those runs that were profiled, but for those that are others since.</param>
/// <param name="Changes"><see cref="GpuMeasurements.Changes"/>.</param>
internal sealed record GpuModelCheck(
    IReadOnlyList<GpuModelCheck.WholeCase> Cases, IReadOnlyList<GpuModelCheck.OneKernel> Kernels, IReadOnlyDictionary<string, string> Changes)
{
    /// <summary>Prices all that was measured.</summary>
    /// <exception cref="UserError">A profile has other launches than the model prices.</exception>
    public static GpuModelCheck Of(GpuModel device, GpuMeasurements measured)
    {
        List<WholeCase> cases = [];
        List<OneKernel> kernels = [];
        foreach (CaseTime time in measured.Cases)
        {
            List<KernelCost> costs = new GpuCostModel(device, time.Kept).Predict(time.Case);
            cases.Add(new WholeCase(
                time.Case.Text, time.Kept, costs.Sum(cost => cost.Launches), 1e3 * costs.Sum(cost => cost.Seconds), time.Milliseconds, costs.Any(cost => measured.IsChanged(cost.Kernel))));
            if (measured.Profiles.TryGetValue(time.Case.Text, out List<KernelTime>? profile))
            {
                kernels.AddRange(Pair(time, costs, profile, measured));
            }
        }

        return new GpuModelCheck(cases, kernels, measured.Changes);
    }

    /// <summary>Both tables in Markdown, of the kernels those that take a notable part of their run; and what has changed since.</summary>
    public string ToMarkdown()
    {
        StringBuilder text = new("| N, d, precision, groups | m | launches | predicted, ms | measured, ms | predicted / measured |\n|---|---|---|---|---|---|\n");
        foreach (WholeCase each in Cases)
        {
            _ = text.Append(FormattableString.Invariant(
                $"| {each.Case} | {each.Kept} | {each.Launches} | {each.Predicted:0.000} | {each.Measured:0.000} | {(each.IsChanged ? "changed since" : each.Ratio.ToString("0.00", CultureInfo.InvariantCulture))} |\n"));
        }

        _ = text.Append("\n| case | kernel | launches | predicted, us | measured, us | predicted / measured | follows from |\n|---|---|---|---|---|---|---|\n");
        foreach (OneKernel each in Kernels.Where(each => each.IsNotable))
        {
            _ = text.Append(FormattableString.Invariant(
                $"| {each.Case} | {each.Kernel} | {each.Launches} | {each.Predicted:0.0} | {each.Measured:0.0} | {each.Ratio:0.00} | {each.Limit}{(each.IsFirst ? "; the host, measured" : "")} |\n"));
        }

        _ = text.Append(Changes.Count > 0 ? "\nChanged since they were measured, and not compared:\n" : "");
        foreach ((string kernel, string reason) in Changes)
        {
            _ = text.Append(CultureInfo.InvariantCulture, $"- `{kernel}`: {reason}\n");
        }

        return text.ToString();
    }

    // What the events around a launch add is the same for each: what all of them together take more than the run.
    private static IEnumerable<OneKernel> Pair(CaseTime run, List<KernelCost> costs, List<KernelTime> profile, GpuMeasurements measured)
    {
        List<(KernelCost Cost, KernelTime Time)> pairs = [.. costs.Join(profile, cost => cost.Kernel, time => time.Kernel, (cost, time) => (cost, time))
            .Where(pair => !measured.IsChanged(pair.cost.Kernel))];
        bool isChanged = costs.Any(cost => measured.IsChanged(cost.Kernel));
        if (pairs.Any(pair => pair.Cost.Launches != pair.Time.Launches) || (!isChanged && (pairs.Count != costs.Count || pairs.Count != profile.Count)))
        {
            throw new UserError($"The profile of {run.Case.Text} is of other launches than this version makes; profile it again with 'bench gpu --profile', or list its kernels in changed.txt");
        }

        double added = (profile.Sum(time => time.Seconds) - (1e-3 * run.Milliseconds)) / profile.Sum(time => time.Launches);
        return pairs.Select(pair => new OneKernel(
            run.Case.Text, pair.Cost.Kernel, pair.Cost.Launches, 1e6 * pair.Cost.Seconds, 1e6 * (pair.Time.Seconds - (pair.Time.Launches * added)), pair.Cost.Limit,
            pair.Time == profile[0], 1e3 * run.Milliseconds));
    }

    /// <summary>A whole run, times in ms; of one with kernels that are others since, the ratio says nothing of the model.</summary>
    internal sealed record WholeCase(string Case, int Kept, int Launches, double Predicted, double Measured, bool IsChanged)
    {
        /// <summary>Predicted over measured.</summary>
        public double Ratio => Predicted / Measured;
    }

    /// <summary>
    /// All launches of one kernel in a run, times in microseconds. The first kernel of a profile finds an idle device: the host's time to launch it is in what was measured.
    /// </summary>
    internal sealed record OneKernel(string Case, string Kernel, int Launches, double Predicted, double Measured, string Limit, bool IsFirst, double OfRun)
    {
        /// <inheritdoc cref="WholeCase.Ratio"/>
        public double Ratio => Predicted / Measured;

        /// <summary>Whether it takes more than a twentieth of the run.</summary>
        public bool IsNotable => Measured > 0.05 * OfRun;
    }
}
