
    /**
     * Writes a person's preferences.
     *
     * @param int $userid
     */
    public static function export_user_preferences(int $userid) {
        foreach (self::halves(\core_privacy\local\request\user_preference_provider::class) as $half) {
            $half::export_user_preferences($userid);
        }
    }
