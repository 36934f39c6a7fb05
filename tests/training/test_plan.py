import pytest

from noseprint.training.plan import Plan, has_stopped_falling

from .tiny import options


def scored(plan, most):
    return [step for step in range(1, most + 1) if plan.scores_after(step)]


def test_epochs_and_steps_set_the_length_and_steps_win():
    assert Plan(options(epochs=3), epoch_steps=10).steps == 30
    assert Plan(options(epochs=3, steps=12), epoch_steps=10).steps == 12


def test_a_training_of_given_length_is_scored_after_each_epoch_and_at_the_end():
    assert scored(Plan(options(steps=25), epoch_steps=10), 25) == [10, 20, 25]


def test_an_open_ended_training_is_scored_ever_more_rarely():
    plan = Plan(options(epochs=None, minutes=9.0), epoch_steps=10)
    assert plan.open_ended
    assert scored(plan, 600) == [64, 96, 128, 192, 256, 384, 512]


def test_without_any_length_the_limit_is_ten_minutes():
    assert Plan(options(epochs=None), epoch_steps=10).minutes == 10
    assert Plan(options(epochs=None, minutes=3.0), epoch_steps=10).minutes == 3
    assert Plan(options(epochs=2), epoch_steps=10).minutes is None


def test_steps_are_timed_once_and_a_limit_of_time_shortens_a_given_length():
    plan = Plan(options(epochs=100, minutes=2.0), epoch_steps=10)
    assert plan.needs_time(20)
    plan.fit_into_time(20, elapsed=40.0, per_step=1.0, per_score=10.0)  # 70 s for steps and a score for every 10 steps
    assert plan.steps == 55
    assert not plan.needs_time(30)


def test_a_limit_of_time_never_makes_a_training_longer():
    plan = Plan(options(epochs=3, minutes=60.0), epoch_steps=10)
    plan.fit_into_time(20, elapsed=1.0, per_step=0.01, per_score=0.1)
    assert plan.steps == 30


def test_a_training_that_has_used_up_its_time_ends_with_the_next_step():
    plan = Plan(options(epochs=None, minutes=1.0), epoch_steps=10)
    plan.fit_into_time(20, elapsed=70.0, per_step=1.0, per_score=1.0)
    assert plan.steps == 21
    assert not plan.needs_time(21)  # which would find one more step, and so on for ever


def test_it_knows_whether_the_time_was_up():
    plan = Plan(options(epochs=3, minutes=1.0), epoch_steps=10)
    assert not plan.out_of_time
    plan.fit_into_time(20, elapsed=58.0, per_step=1.0, per_score=0.0)
    assert (plan.steps, plan.out_of_time) == (22, True)


def test_an_open_ended_training_times_its_steps_again_at_each_score():
    plan = Plan(options(epochs=None, minutes=10.0), epoch_steps=10)
    plan.fit_into_time(20, elapsed=20.0, per_step=1.0, per_score=0.0)
    assert plan.steps == 600
    assert plan.needs_time(64)
    plan.fit_into_time(64, elapsed=400.0, per_step=4.0, per_score=0.0)  # the machine has become busy
    assert plan.steps == 114


def test_a_resumed_training_keeps_its_plan():
    plan = Plan(options(epochs=100, minutes=2.0), epoch_steps=10)
    plan.fit_into_time(20, elapsed=40.0, per_step=1.0, per_score=10.0)
    resumed = Plan(options(epochs=100, minutes=2.0), epoch_steps=10)
    resumed.load(plan.state())
    assert resumed.steps == 55
    assert not resumed.needs_time(60)


@pytest.mark.parametrize(
    ("losses", "stopped"),
    [
        ([4.1, 2.2], False),  # nothing to compare with
        ([4.1, 1.9, 1.2], False),  # falls
        ([4.1, 1.9, 1.2, 1.17], True),  # fell by 1 % of its whole fall
        ([4.1, 1.9, 1.2, 1.3], True),  # rises
        ([4.1, 4.1, 4.1], False),  # has not begun
        ([4.1, 4.05, 4.0, 3.99], False),  # likewise
    ],
)
def test_the_loss_has_stopped_falling_when_it_has_hardly_fallen_since_the_last_score(losses, stopped):
    assert has_stopped_falling(losses) is stopped
