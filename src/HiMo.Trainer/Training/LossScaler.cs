// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>
/// The factor on a loss whose gradients pass through float16: as large as keeps them finite. A step whose gradient is not finite is left out
/// and halves it; 2,000 good steps in a row double it. Source: Micikevicius et al. (arXiv:1710.03740), torch's GradScaler.
/// </summary>
/// <param name="isActive">Whether there is anything to scale; otherwise the factor stays 1.</param>
internal sealed class LossScaler(bool isActive)
{
    private const double Start = 65536.0;
    private const int StepsToGrow = 2000;

    /// <summary>The factor.</summary>
    public double Scale { get; set; } = isActive ? Start : 1.0;

    /// <summary>Good steps since the factor changed.</summary>
    public int GoodSteps { get; set; }

    /// <summary>Whether a gradient that is not finite may be the factor's fault.</summary>
    public bool CanBackOff => isActive && Scale > 1.0;

    /// <summary>Takes note of a step.</summary>
    /// <param name="isFinite">Whether its gradient was finite.</param>
    public void Update(bool isFinite)
    {
        if (!isActive)
        {
            return;
        }

        GoodSteps = isFinite ? GoodSteps + 1 : 0;
        if (!isFinite)
        {
            Scale /= 2.0;
        }
        else if (GoodSteps == StepsToGrow)
        {
            (Scale, GoodSteps) = (Scale * 2.0, 0);
        }
    }
}
