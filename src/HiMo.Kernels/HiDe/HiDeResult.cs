// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>What HiDe found in one group.</summary>
/// <param name="M">Number of kept principal components, 1 to min(N, d).</param>
/// <param name="ExplainedVariance">Their share of the group's variance, 0 to 1; the variance counts as 1e-8 at least, as in the authors' code.</param>
/// <param name="RelativeGap">(lambda_m - lambda_{m+1}) / lambda_1; infinity where nothing is dropped.</param>
/// <param name="Warnings">What its user should know about this group.</param>
public readonly record struct HiDeResult(int M, double ExplainedVariance, double RelativeGap, HiDeWarnings Warnings);
