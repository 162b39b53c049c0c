// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>The error measures that every numeric test uses: losses |a-b| / max(|b|, 1), arrays Frobenius relative to max(|b|, 1e-6).</summary>
internal static class Expect
{
    public static double Norm(double[] values) => Math.Sqrt(values.Sum(value => value * value));

    public static double LossError(double actual, double expected) => Math.Abs(actual - expected) / Math.Max(Math.Abs(expected), 1.0);

    public static double GradientError(IReadOnlyList<double> actual, IReadOnlyList<double> expected)
    {
        Assert.That(actual, Has.Count.EqualTo(expected.Count), "number of values");
        double difference = 0.0;
        double size = 0.0;
        for (int i = 0; i < expected.Count; i++)
        {
            difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
            size += expected[i] * expected[i];
        }

        return Math.Sqrt(difference) / Math.Max(Math.Sqrt(size), 1e-6);
    }

    public static void Loss(double actual, double expected, double tolerance, string name) =>
        AtMost(LossError(actual, expected), tolerance, $"error of {name}: it is {actual:R}, expected {expected:R}");

    public static void Gradient(IReadOnlyList<double> actual, IReadOnlyList<double> expected, double tolerance, string name) =>
        AtMost(GradientError(actual, expected), tolerance, $"error of {name}");

    /// <summary>The temperature's gradient, relative to max(|expected|, |loss|).</summary>
    public static void LogitScaleGradient(double actual, double expected, double loss, double tolerance) =>
        AtMost(
            Math.Abs(actual - expected) / Math.Max(Math.Abs(expected), Math.Abs(loss)),
            tolerance,
            $"error of the temperature's gradient: it is {actual:R}, expected {expected:R}");

    /// <summary>NUnit's own comparison counts NaN as less than every number, so that NaN would pass it.</summary>
    public static void AtMost(double value, double limit, string name) =>
        Assert.That(value <= limit, Is.True, $"{name}: {value:R} is not at most {limit:R}");
}
