// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using HiMo.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>Batched HiDe, forward and backward with the exact basis gradient, against a loop over the groups in plain TorchSharp operations.</summary>
/// <param name="groups">Independent groups.</param>
/// <param name="rows">N of each.</param>
/// <param name="columns">d.</param>
/// <param name="threads">Threads of both sides.</param>
internal sealed class HideBenchmark(int groups, int rows, int columns, int threads)
{
    private const double Tau = 0.9;
    private const double Tolerance = 2e-3;             // of the gradients' norm; gaps at the cut of a thousandth cost three digits
    private const int MinRounds = 5;

    /// <summary>Compares all forms, then times them in turn.</summary>
    /// <param name="seconds">For the timing, at least five rounds.</param>
    /// <param name="cancel">Checked between two runs.</param>
    /// <exception cref="InvalidOperationException">The forms do not agree.</exception>
    public BenchmarkTable Run(double seconds, CancellationToken cancel)
    {
        TorchLoader.EnsureLoaded();
        set_num_threads(threads);
        using DisposeScope scope = NewDisposeScope();
        Tensor[] texts =
        [
            .. Enumerable.Range(0, groups).Select(group => nn.functional.normalize(PowerLawFeatures.Create(rows, columns, group + 1).Texts, dim: 1).requires_grad_()),
        ];
        Tensor all = cat(texts).detach();
        using Generator generator = new(1);
        Tensor outer = randn([(long)groups * rows, columns], generator: generator) / MathF.Sqrt(columns);
        Tensor[] outerOfGroup = [.. outer.split(rows)];
        Tensor components = empty_like(all), gradient = empty_like(all);
        MoLoOptions options = new() { Tau = Tau };
        using HiDe fused = new(Tau, threads: threads);
        using PlainMoLoLoss svd = new(options), eigh = new(options, PlainMethod.Eigh);
        void Fused()
        {
            fused.Forward(TensorMemory.Read(all), groups, TensorMemory.Write(components));
            fused.Backward(TensorMemory.Read(all), TensorMemory.Read(outer), TensorMemory.Write(gradient));
        }

        Fused();
        Compare(svd, "SVD", texts, outerOfGroup, components, gradient);
        Compare(eigh, "eigh", texts, outerOfGroup, components, gradient);
        Timing[] times = InterleavedTiming.Run(
            seconds, MinRounds, cancel, Fused, () => Loop(svd, texts, outerOfGroup), () => Loop(eigh, texts, outerOfGroup));
        BenchmarkTable table = new(
            "hide", ("form", "form", ""), ("min_ms", "minimum, ms", "F2"), ("median_ms", "median, ms", "F2"), ("group_us", "one group, us", "F0"), ("ratio", "minimum / fused", "F2"));
        string[] names = ["fused, batched", "plain loop, SVD", "plain loop, eigh"];
        for (int i = 0; i < times.Length; i++)
        {
            table.Add(names[i], times[i].Minimum, times[i].Median, 1e3 * times[i].Minimum / groups, times[i].Minimum / times[0].Minimum);
        }

        table.Notes.Add(("groups", $"{groups} groups of {rows} x {columns}, {threads} threads, tau {Tau}, m = {fused.Results[0].M} in the first", groups));
        return table;
    }

    private static void Loop(PlainMoLoLoss plain, Tensor[] texts, Tensor[] outer)
    {
        for (int group = 0; group < texts.Length; group++)
        {
            using DisposeScope scope = NewDisposeScope();
            plain.Reconstruct(texts[group]).backward([outer[group]]);
            texts[group].grad = null;
        }
    }

    private static void Compare(PlainMoLoLoss plain, string name, Tensor[] texts, Tensor[] outer, Tensor components, Tensor gradient)
    {
        using DisposeScope scope = NewDisposeScope();
        List<Tensor> values = [], gradients = [];
        for (int group = 0; group < texts.Length; group++)
        {
            Tensor value = plain.Reconstruct(texts[group]);
            value.backward([outer[group]]);
            values.Add(value.detach());
            gradients.Add(texts[group].grad!.clone());
            texts[group].grad = null;
        }

        foreach ((string what, Tensor actual, Tensor expected) in new[] { ("u'", components, cat(values)), ("gradient", gradient, cat(gradients)) })
        {
            double error = ((actual - expected).norm() / expected.norm()).item<float>();
            if (!(error <= Tolerance))
            {
                throw new InvalidOperationException(FormattableString.Invariant($"bench hide: batched and plain ({name}) differ: {what} by {error:e1} relative"));
            }
        }
    }
}
