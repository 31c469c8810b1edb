//! What news for people say, in English, Russian and Dutch. Invariant: every sentence is in every language, with the plurals
//! of each and the same places (a test holds it); each says what to do next where there is something to do.
//! Source: news.md section 13.

use portcullis_engine::words::{Catalogue, Tongue};

portcullis_engine::words! {
    pub(super) enum Say {
        FirstFolder = "first_folder";
        Welcome = "welcome";
        Menu = "menu";
        OutOfDate = "out_of_date";
        OutOfDateToast = "out_of_date_toast";
        Gone = "gone";
        UnknownCommand = "unknown_command";
        Help = "help";
        HelpAdmin = "help_admin";
        OnlyManagers = "only_managers";
        NothingToCancel = "nothing_to_cancel";
        Cancelled = "cancelled";
        WhichLanguage = "which_language";
        LanguageNow = "language_now";
        DigestLanguageNow = "digest_language_now";
        DigestsAsPosts = "digests_as_posts";
        ButtonNews = "button_news";
        ButtonAgain = "button_again";
        ButtonMenu = "button_menu";
        ButtonList = "button_list";
        ButtonAdd = "button_add";
        ButtonRemove = "button_remove";
        ButtonFolders = "button_folders";
        ButtonFilters = "button_filters";
        ButtonWindow = "button_window";
        ButtonStories = "button_stories";
        ButtonSchedule = "button_schedule";
        ButtonPlan = "button_plan";
        ButtonUsage = "button_usage";
        ButtonOwners = "button_owners";
        ButtonLanguage = "button_language";
        ButtonAsPosts = "button_as_posts";
        ButtonCancel = "button_cancel";
        ButtonNo = "button_no";
        ButtonYesAdd = "button_yes_add";
        ButtonYesRemove = "button_yes_remove";
        ButtonYesForget = "button_yes_forget";
        ButtonUndo = "button_undo";
        ButtonNewFolder = "button_new_folder";
        ButtonAll = "button_all";
        ButtonWider = "button_wider";
        CountSources = "count_sources";
        SpanHours = "span_hours";
        SpanDays = "span_days";
        HeaderStories = "header_stories";
        Sources = "sources";
        AndMore = "and_more";
        SomeFailed = "some_failed";
        LessExtractive = "less_extractive";
        LessLexical = "less_lexical";
        LessLate = "less_late";
        NotCharged = "not_charged";
        PhaseFetching = "phase_fetching";
        PhaseGrouping = "phase_grouping";
        PhaseTelling = "phase_telling";
        NoSuchFolder = "no_such_folder";
        NoSources = "no_sources";
        BeingMade = "being_made";
        QuotaUsed = "quota_used";
        NoNews = "no_news";
        AllFailed = "all_failed";
        ReasonNoPreview = "reason_no_preview";
        ReasonNotFound = "reason_not_found";
        ReasonRobots = "reason_robots";
        ReasonRefused = "reason_refused";
        ReasonNotAnswering = "reason_not_answering";
        ReasonBusy = "reason_busy";
        ReasonUnreadable = "reason_unreadable";
        AddWhat = "add_what";
        AddThese = "add_these";
        AddKnown = "add_known";
        AddFull = "add_full";
        OwnerBlocked = "owner_blocked";
        TooManyAtOnce = "too_many_at_once";
        SourceUnknown = "source_unknown";
        SourceOnePost = "source_one_post";
        SourceExtra = "source_extra";
        SourceName = "source_name";
        RemoveWhich = "remove_which";
        NotFollowed = "not_followed";
        NothingToRemove = "nothing_to_remove";
        RemoveAllSure = "remove_all_sure";
        Removed = "removed";
        RemovedOne = "removed_one";
        Undone = "undone";
        UndoLate = "undo_late";
        HealthFailing = "health_failing";
        HealthNoPreview = "health_no_preview";
        HealthOff = "health_off";
        HealthOk = "health_ok";
        FoldersAre = "folders_are";
        FolderHow = "folder_how";
        FolderNameWhich = "folder_name_which";
        FolderNameRule = "folder_name_rule";
        FolderMade = "folder_made";
        FolderRenamed = "folder_renamed";
        FolderTaken = "folder_taken";
        FoldersFull = "folders_full";
        FolderUsed = "folder_used";
        FolderDeleteSure = "folder_delete_sure";
        FolderDeleted = "folder_deleted";
        FolderLast = "folder_last";
        WindowNow = "window_now";
        WindowSet = "window_set";
        WindowRange = "window_range";
        StoriesNow = "stories_now";
        StoriesSet = "stories_set";
        StoriesRange = "stories_range";
        PlanRow = "plan_row";
        Usage = "usage";
        MyData = "my_data";
        ForgetSure = "forget_sure";
        Forgotten = "forgotten";
        ButtonPause = "button_pause";
        ButtonResume = "button_resume";
        ButtonDelete = "button_delete";
        ButtonNewSchedule = "button_new_schedule";
        ButtonChange = "button_change";
        ButtonClear = "button_clear";
        ButtonAccept = "button_accept";
        ButtonDecline = "button_decline";
        ButtonSend = "button_send";
        FiltersAre = "filters_are";
        FiltersHow = "filters_how";
        FiltersSet = "filters_set";
        FiltersCleared = "filters_cleared";
        FilterForm = "filter_form";
        FilterLong = "filter_long";
        FilterExpression = "filter_expression";
        FilterLanguage = "filter_language";
        FilterMany = "filter_many";
        TestPasses = "test_passes";
        TestPassesBy = "test_passes_by";
        TestExcluded = "test_excluded";
        TestNotIncluded = "test_not_included";
        TestLanguage = "test_language";
        TestWatched = "test_watched";
        SchedulesAre = "schedules_are";
        NoSchedules = "no_schedules";
        ScheduleHow = "schedule_how";
        ScheduleMade = "schedule_made";
        ScheduleOption = "schedule_option";
        SchedulesFull = "schedules_full";
        TooDense = "too_dense";
        TargetRefused = "target_refused";
        WhichZone = "which_zone";
        NoSuchZone = "no_such_zone";
        WhichPreset = "which_preset";
        WhichTime = "which_time";
        PresetHourly = "preset_hourly";
        PresetDaily = "preset_daily";
        PresetWeekdays = "preset_weekdays";
        PresetWeekly = "preset_weekly";
        PausedAsked = "paused_asked";
        PausedFailed = "paused_failed";
        PausedUnreachable = "paused_unreachable";
        SchedulePausedNote = "schedule_paused_note";
        SourceGone = "source_gone";
        ScheduleEmpty = "schedule_empty";
        CronFields = "cron_fields";
        CronForm = "cron_form";
        CronRange = "cron_range";
        CronNever = "cron_never";
        ImportHow = "import_how";
        ImportLarge = "import_large";
        ImportUnreadable = "import_unreadable";
        Imported = "imported";
        Exported = "exported";
        Owners = "owners";
        OwnerAdd = "owner_add";
        OwnerRemove = "owner_remove";
        OwnerRestrict = "owner_restrict";
        OwnerChannel = "owner_channel";
        OwnerTopic = "owner_topic";
        OwnerAbout = "owner_about";
        OwnerSent = "owner_sent";
        OwnerAccepted = "owner_accepted";
        OwnerDeclined = "owner_declined";
        OwnerDecided = "owner_decided";
        TopicNews = "topic_news";
        TopicPolitics = "topic_politics";
        TopicEconomy = "topic_economy";
        TopicScience = "topic_science";
        TopicTechnology = "topic_technology";
        TopicCulture = "topic_culture";
        TopicSport = "topic_sport";
        TopicHealth = "topic_health";
        TopicLocal = "topic_local";
        TopicOther = "topic_other";
        StatsWeek = "stats_week";
        BroadcastHow = "broadcast_how";
        BroadcastSure = "broadcast_sure";
        BroadcastSent = "broadcast_sent";
        NoSuchPerson = "no_such_person";
        NotOfferedHere = "not_offered_here";
        AddAnyway = "add_anyway";
        HealthQuiet = "health_quiet";
        HasFeeds = "has_feeds";
    }
}

/// The sentences of all languages.
pub(super) fn catalogue() -> Catalogue {
    Catalogue::new([
        include_str!("words/en.toml"),
        include_str!("words/ru.toml"),
        include_str!("words/nl.toml"),
    ])
}

/// Speaks one language.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Talk<'a> {
    pub(super) words: &'a Catalogue,
    pub(super) tongue: Tongue,
}

impl Talk<'_> {
    /// A sentence as it is.
    pub(super) fn say(&self, say: Say) -> String {
        self.with(say, &[])
    }

    /// A sentence with values put in.
    pub(super) fn with(&self, say: Say, values: &[(&str, &str)]) -> String {
        self.words.say(self.tongue, say.as_str(), 0, values)
    }

    /// A sentence with a number.
    pub(super) fn count(&self, say: Say, n: u64) -> String {
        self.words.say(self.tongue, say.as_str(), n, &[])
    }

    /// So many hours, in days where they are whole ones and more than two.
    pub(super) fn span(&self, hours: i64) -> String {
        let hours = u64::try_from(hours).unwrap_or_default();
        if hours > 48 && hours.is_multiple_of(24) {
            self.count(Say::SpanDays, hours / 24)
        } else {
            self.count(Say::SpanHours, hours)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: S0-10
    #[test]
    fn every_sentence_is_in_every_language_with_its_plurals_and_places() {
        let names: Vec<_> = Say::ALL.iter().map(|say| say.as_str()).collect();
        assert_eq!(catalogue().problems(&names), Vec::<String>::new());
    }

    #[test]
    fn hours_are_told_in_days_where_that_is_shorter() {
        let words = catalogue();
        let span = |tongue, hours| Talk { words: &words, tongue }.span(hours);
        assert_eq!(span(Tongue::En, 1), "1 hour");
        assert_eq!([span(Tongue::Ru, 22), span(Tongue::Ru, 72)], ["22 часа", "3 дня"]);
        assert_eq!([span(Tongue::Nl, 48), span(Tongue::Nl, 168)], ["48 uur", "7 dagen"]);
    }
}
