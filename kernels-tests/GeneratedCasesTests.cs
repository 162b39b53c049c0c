// SPDX-License-Identifier: Apache-2.0
using FsCheck.Fluent;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

internal sealed class GeneratedCasesTests
{
    [Test]
    public void The_short_form_draws_the_same_cases_again_and_the_long_form_new_ones()
    {
        int[] first = Draw();
        Assert.That(first, Has.Length.EqualTo(TestLength.Pick(30, 50)));
        Assert.That(first.Distinct().Count(), Is.GreaterThan(20), "different cases");
        Assert.That(Draw(), TestLength.IsLong ? Is.Not.EqualTo(first) : Is.EqualTo(first));
    }

    [Test]
    public void A_failure_names_the_case_and_its_seed()
    {
        Exception? failure = Assert.Catch(() => GeneratedCases.Check(Gen.Constant("a case"), 1, 1, _ => Assert.Fail("the property's own words")));
        Assert.That(failure!.ToString(), Does.Contain("a case").And.Contain("the property's own words").And.Contain(TestLength.IsLong ? "seed" : "2026"));
    }

    private static int[] Draw()
    {
        List<int> cases = [];
        GeneratedCases.Check(Gen.Choose(1, 1_000_000), 30, 50, cases.Add);
        return [.. cases];
    }
}
