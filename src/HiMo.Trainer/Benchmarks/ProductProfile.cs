// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text.RegularExpressions;

namespace HiMo.Trainer;

/// <summary>
/// How much of some time libtorch spent in matrix products: MKL and oneDNN print each call with its duration where the environment asks for it.
/// </summary>
internal static partial class ProductProfile
{
    /// <summary>What makes a process print its products.</summary>
    public static IReadOnlyDictionary<string, string> Environment { get; } = new Dictionary<string, string> { ["MKL_VERBOSE"] = "1", ["ONEDNN_VERBOSE"] = "1" };

    /// <summary>The milliseconds of all products in an output.</summary>
    /// <param name="output">What the process printed.</param>
    /// <returns>0 where the libraries printed nothing.</returns>
    public static double Milliseconds(string output)
    {
        double sum = Mkl().Matches(output).Sum(match => Number(match.Groups[1]) * match.Groups[2].Value switch { "ns" => 1e-6, "us" => 1e-3, "ms" => 1.0, _ => 1e3 });
        return sum + OneDnn().Matches(output).Sum(match => Number(match.Groups[1]));
    }

    private static double Number(Group text) => double.Parse(text.ValueSpan, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"^MKL_VERBOSE \w*GEMM\w*\(.*\) ([0-9.e+-]+)(ns|us|ms|s) ", RegexOptions.Multiline)]
    private static partial Regex Mkl();

    [GeneratedRegex(@"^onednn_verbose,.*,exec,cpu,(?:matmul|inner_product|convolution),.*,([0-9.e+-]+)\r?$", RegexOptions.Multiline)]
    private static partial Regex OneDnn();
}
