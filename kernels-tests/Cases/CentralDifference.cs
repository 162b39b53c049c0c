// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels.Tests;

/// <summary>
/// Gradients by central differences. With step h the error is h^2 f'''/6 + 1e-16 |f| / h; at h = 1e-5 both are of the order of
/// 1e-10 for functions of order 1, which <see cref="Tolerance"/> leaves room for.
/// </summary>
internal static class CentralDifference
{
    public const double Tolerance = 1e-7;

    private const double Step = 1e-5;

    public static double[] Of(Func<ReferenceMatrix, double> function, ReferenceMatrix at)
    {
        double[] gradient = new double[at.Elements.Length];
        for (int i = 0; i < gradient.Length; i++)
        {
            gradient[i] = Of(value => function(With(at, i, value)), at.Elements[i]);
        }

        return gradient;
    }

    public static double Of(Func<double, double> function, double at) => (function(at + Step) - function(at - Step)) / (2.0 * Step);

    /// <summary>sum_ij a_ij b_ij: makes a number of an op's output, with gradient b.</summary>
    public static double Contract(ReferenceMatrix a, ReferenceMatrix b) => a.Elements.Zip(b.Elements, (x, y) => x * y).Sum();

    private static ReferenceMatrix With(ReferenceMatrix matrix, int element, double value)
    {
        ReferenceMatrix changed = new(matrix.Elements, matrix.Rows, matrix.Columns);
        changed.Elements[element] = value;
        return changed;
    }
}
