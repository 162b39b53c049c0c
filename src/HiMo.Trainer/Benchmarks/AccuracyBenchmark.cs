// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using HiMo.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>One batch to be evaluated.</summary>
/// <param name="Family">What it has in common with others; one row of the table.</param>
/// <param name="Name">Its own name.</param>
/// <param name="Rows">N.</param>
/// <param name="Columns">d.</param>
/// <param name="Images">N x d.</param>
/// <param name="Texts">N x d.</param>
/// <param name="LogitScale">Natural logarithm of the factor on the cosines.</param>
/// <param name="Options">Of the loss.</param>
internal sealed record AccuracyCase(string Family, string Name, int Rows, int Columns, float[] Images, float[] Texts, double LogitScale, MoLoOptions Options);

/// <summary>
/// Errors against float64, of the float32 operator and of both plain forms in float32: losses |a - b| / max(|b|, 1), feature gradients in
/// the Frobenius norm relative to max(|b|, 1e-6), the temperature's relative to max(|b|, |loss|).
/// </summary>
internal sealed class AccuracyBenchmark
{
    private const double Spacing = 1.0 / (1 << 23);     // of float32: errors below count as this one when they are compared

    private static readonly string[] s_quantities = ["loss", "images", "texts", "scale"];

    private readonly List<(string Family, string Name, double[][] Errors)> _results = [];

    /// <summary>Batches on which a plain form gave something that is not finite.</summary>
    public IEnumerable<string> NotFinite => _results.Where(result => result.Errors.Skip(1).Any(errors => !errors.All(double.IsFinite))).Select(result => result.Name);

    /// <summary>Evaluates one batch in all forms.</summary>
    public void Add(AccuracyCase given)
    {
        ReferenceStep judge = TrainingStepReference.Run(Widen(given.Images), Widen(given.Texts), given.Rows, given.Columns, given.LogitScale, given.Options);
        _results.Add((given.Family, given.Name, [Errors(Fused(given), judge), Errors(Plain(given, PlainMethod.Svd), judge), Errors(Plain(given, PlainMethod.Eigh), judge)]));
    }

    /// <summary>Medians and largest errors by family and quantity.</summary>
    public BenchmarkTable ToTable()
    {
        BenchmarkTable table = new(
            "accuracy", ("family", "batches", ""), ("count", "number", ""), ("quantity", "error of", ""), ("fused_median", "fused, median", "0e+0"), ("svd_median", "SVD, median", "0e+0"),
            ("eigh_median", "eigh, median", "0e+0"), ("fused_max", "fused, largest", "0e+0"), ("svd_max", "SVD, largest", "0e+0"), ("eigh_max", "eigh, largest", "0e+0"),
            ("svd_not_finite", "SVD not finite", ""), ("eigh_not_finite", "eigh not finite", ""), ("worst", "worst fused / better plain", "F1"), ("above_two", "above 2", ""));
        foreach (IGrouping<string, (string Family, string Name, double[][] Errors)> family in _results.GroupBy(result => result.Family))
        {
            for (int quantity = 0; quantity < s_quantities.Length; quantity++)
            {
                double[][] forms = [.. Enumerable.Range(0, 3).Select(form => family.Select(result => result.Errors[form][quantity]).ToArray())];
                double[] ratios = [.. family.Select(result => Ratio(result.Errors, quantity))];
                table.Add(
                    family.Key, family.Count(), s_quantities[quantity], Median(forms[0]), Median(forms[1]), Median(forms[2]), Largest(forms[0]), Largest(forms[1]), Largest(forms[2]),
                    forms[1].Count(error => !double.IsFinite(error)), forms[2].Count(error => !double.IsFinite(error)), ratios.Max(), ratios.Count(ratio => ratio > 2.0));
            }
        }

        return table;
    }

    /// <summary>Batches, and quantities, on which the fused error is more than twice the better plain one's.</summary>
    public IEnumerable<string> Worse() =>
        from result in _results
        from quantity in Enumerable.Range(0, s_quantities.Length)
        where !(Ratio(result.Errors, quantity) <= 2.0)
        select FormattableString.Invariant(
            $"{result.Name}, {s_quantities[quantity]}: fused {result.Errors[0][quantity]:0.0e+0}, SVD {result.Errors[1][quantity]:0.0e+0}, eigh {result.Errors[2][quantity]:0.0e+0}");

    private static double Ratio(double[][] errors, int quantity)
    {
        double better = errors.Skip(1).Select(form => form[quantity]).Where(double.IsFinite).DefaultIfEmpty(double.PositiveInfinity).Min();
        double own = errors[0][quantity];
        return double.IsFinite(own) ? Math.Max(own, Spacing) / Math.Max(better, Spacing) : double.PositiveInfinity;
    }

    private static double Largest(double[] errors) => errors.Where(double.IsFinite).DefaultIfEmpty(double.NaN).Max();

    private static double Median(double[] errors)
    {
        double[] finite = [.. errors.Where(double.IsFinite).Order()];
        return finite.Length == 0 ? double.NaN : finite[finite.Length / 2];
    }

    private static double[] Errors((double Loss, double[] Images, double[] Texts, double Scale) actual, ReferenceStep judge)
    {
        double loss = judge.Result.Loss;
        return
        [
            Math.Abs(actual.Loss - loss) / Math.Max(Math.Abs(loss), 1.0), Distance(actual.Images, judge.GradImages), Distance(actual.Texts, judge.GradTexts),
            Math.Abs(actual.Scale - judge.Result.GradLogitScale) / Math.Max(Math.Max(Math.Abs(judge.Result.GradLogitScale), Math.Abs(loss)), 1e-6),
        ];
    }

    private static double Distance(double[] actual, double[] expected)
    {
        double difference = 0.0, size = 0.0;
        for (int i = 0; i < expected.Length; i++)
        {
            difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
            size += expected[i] * expected[i];
        }

        return Math.Sqrt(difference) / Math.Max(Math.Sqrt(size), 1e-6);
    }

    private static double[] Widen(float[] values) => [.. values.Select(value => (double)value)];

    private static (double Loss, double[] Images, double[] Texts, double Scale) Fused(AccuracyCase given)
    {
        float[] images = new float[given.Images.Length], texts = new float[given.Texts.Length];
        using TrainingStep step = new(given.Options, threads: 1);
        MoLoResult result = step.Run(
            new(given.Images, given.Rows, given.Columns), new(given.Texts, given.Rows, given.Columns), given.LogitScale,
            new(images, given.Rows, given.Columns), new(texts, given.Rows, given.Columns));
        return (result.Loss, Widen(images), Widen(texts), result.GradLogitScale);
    }

    private static (double Loss, double[] Images, double[] Texts, double Scale) Plain(AccuracyCase given, PlainMethod method)
    {
        using DisposeScope scope = NewDisposeScope();
        using PlainMoLoLoss loss = new(given.Options, method);
        Tensor images = tensor(given.Images, [given.Rows, given.Columns]).requires_grad_(), texts = tensor(given.Texts, [given.Rows, given.Columns]).requires_grad_();
        Tensor scale = tensor((float)given.LogitScale).requires_grad_();
        try
        {
            Tensor value = loss.forward(images, texts, scale);
            value.backward();
            return (value.item<float>(), Gradient(images), Gradient(texts), scale.grad!.item<float>());
        }
        catch (System.Runtime.InteropServices.ExternalException)
        {
            // libtorch's SVD gives up on some input: a failure like a NaN.
            double[] nothing = [.. Enumerable.Repeat(double.NaN, given.Images.Length)];
            return (double.NaN, nothing, nothing, double.NaN);
        }
    }

    private static double[] Gradient(Tensor input) => input.grad is { } gradient ? Widen([.. gradient.contiguous().data<float>()]) : new double[input.numel()];
}
